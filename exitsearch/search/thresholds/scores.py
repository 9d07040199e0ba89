"""Answers: how sure every candidate is of every sample, and whether it is right. What the confidence policy replays."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitsearch.errors import InputError, MismatchError, one_of
from exitsearch.search.problem import Array, Choice, Problem
from exitsearch.search.valuation import Valued
from exitsearch.specs.answers.confidence import Floats as Floats
from exitsearch.specs.answers.confidence import certainty, fit_temperature, largest_probability, sureness
from exitsearch.specs.answers.kept import ExitOutputs, KeptOutputs
from exitsearch.specs.outcomes import Samples
from exitsearch.specs.question.request import SCORES, Score


@dataclass(frozen=True)
class Answers:
    """What every candidate says to every sample. The last row of each array is the final exit.

    Attributes:
        score: how confidence is measured.
        scores: confidence [candidates + 1, samples], higher is surer; all zero for `patience`.
        right: whether the answer is right, or what it is worth [candidates + 1, samples].
        predicted: the class [candidates + 1, samples].
        temperatures: by which outputs are divided [candidates + 1].
    """

    score: Score
    scores: Floats
    right: NDArray[np.bool_] | Array
    predicted: NDArray[np.int32]
    temperatures: Array

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.right.shape[1])

    @cached_property
    def identity(self) -> str:
        """12 hexadecimal digits that stand for all of it."""
        digest = hashlib.sha256(self.score.encode())
        for array in (self.scores, self.right, self.predicted):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:12]

    def every(self, step: int) -> Answers:
        """Every `step`-th sample."""
        return Answers(
            score=self.score,
            scores=np.ascontiguousarray(self.scores[:, ::step]),
            right=self.right[:, ::step].copy(),
            predicted=np.ascontiguousarray(self.predicted[:, ::step]),
            temperatures=self.temperatures,
        )

    def chosen_scores(self, choice: Choice) -> Floats:
        """Confidence of the chosen exits in order [exits, samples].

        Under `patience` it is how many answers in a row, up to this exit's, agree with the one before them (Zhou et
        al., BERT Loses Patience, arXiv 2006.04152).
        """
        if self.score != "patience":
            return self.scores[list(choice)]
        counts = np.zeros((len(choice), self.samples), dtype=np.float32)
        for k in range(1, len(choice)):
            agree = self.predicted[choice[k]] == self.predicted[choice[k - 1]]
            counts[k] = np.where(agree, counts[k - 1] + 1, 0)
        return counts


def build_answers(
    problem: Problem,
    outcomes: Valued,
    split: str,
    *,
    score: Score = "softmax",
    like: Answers | None = None,
    only: Choice | None = None,
) -> Answers:
    """Answers of a problem's candidates on one split.

    Args:
        score: `softmax` (largest probability), `entropy` (1 minus the entropy over its largest possible), `margin`
            (largest minus second largest probability) or `patience`.
        like: answers whose temperatures are taken; None fits them on this split. Answers that were kept without their
            outputs have the temperature that was fitted when they were made.
        only: candidates that are needed; the others' rows stay zero. None takes all.

    Raises:
        InputError: the outcomes hold no samples, or no classes.
        MismatchError: the samples do not fit together.
    """
    if score not in SCORES:
        raise one_of("confidence", score, SCORES)
    if not outcomes.holds_classes:
        raise InputError(
            f"the policy confidence needs outputs that are classes, the outcomes hold {outcomes.metric}; "
            "choose --policy interruptible or contract"
        )
    samples = outcomes.samples(split)
    if samples is None:
        raise InputError(
            f"the policy confidence replays every sample, and {outcomes.source or 'these outcomes'} hold only scores; "
            "train the heads with exitsearch train-heads, or choose --policy interruptible or contract"
        )
    rows = range(len(problem.candidates)) if only is None else only
    columns = [(row, samples.outputs[_key(problem, row)]) for row in rows] + [(len(problem.candidates), samples.final)]
    shape = (len(problem.candidates) + 1, len(samples.labels))
    right: NDArray[np.bool_] | Array = np.zeros(shape, dtype=np.bool_)
    if outcomes.metric == "utility":
        right = np.zeros(shape, dtype=np.float64)
    found = Answers(
        score=score,
        scores=np.zeros(shape, dtype=np.float32),
        right=right,
        predicted=np.zeros(shape, dtype=np.int32),
        temperatures=np.ones(shape[0]),
    )
    for row, outputs in columns:
        _check(outputs, samples, split)
        found.predicted[row] = outputs.argmax(axis=1)
        found.right[row] = outcomes.each_value(outputs, samples.labels)
        if score == "patience":
            continue
        if like is None or isinstance(outputs, KeptOutputs):
            temperature = exit_temperature(outputs, samples.labels)
        else:
            temperature = float(like.temperatures[row])
        found.temperatures[row] = temperature
        found.scores[row] = confidence(outputs, score=score, temperature=temperature)
    return found


def _key(problem: Problem, row: int) -> tuple[int, str]:
    return problem.candidates[row].placement, problem.candidates[row].head


def _check(outputs: ExitOutputs, samples: Samples, split: str) -> None:
    if not len(samples.labels) or len(outputs) != len(samples.labels) or outputs.ndim != 2 or outputs.shape[1] < 2:
        raise MismatchError(
            f"the samples of split {split} need a row of at least two outputs for each of {len(samples.labels)} "
            f"labels, found {list(outputs.shape)}; make the outcomes again with exitsearch train-heads"
        )


def confidence(outputs: ExitOutputs, *, score: Score, temperature: float = 1.0) -> Floats:
    """How sure outputs are [samples].

    Args:
        outputs: before the softmax [samples, classes], at least two classes; or what is kept of them, which knows its
            own temperature.
        score: `softmax`, `entropy` or `margin`.
        temperature: above 0.
    """
    if isinstance(outputs, KeptOutputs):
        assert temperature == outputs.temperature, "kept answers are as sure as they are at their own temperature"
        return outputs.score(score)
    if score == "softmax":
        return largest_probability(outputs, temperature=temperature)
    sure = sureness(outputs, temperature=temperature)
    if score == "margin":
        return sure.margin
    assert score == "entropy", score
    return certainty(sure.entropy, classes=outputs.shape[1])


def exit_temperature(outputs: ExitOutputs, labels: NDArray[Any]) -> float:
    """The temperature of an exit: that of kept answers, or the one with the least cross entropy."""
    return outputs.temperature if isinstance(outputs, KeptOutputs) else fit_temperature(outputs, labels)
