"""Valuation: outcomes as one search reads them. What each exit is worth, by the metric or by a utility of the user's
own, and the samples of each split, read once.

What values exits is asked for as `Valued`, which plain outcomes are too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from exitsearch.errors import InputError
from exitsearch.search.utility import Utility
from exitsearch.specs.answers.kept import ExitOutputs
from exitsearch.specs.answers.samples import Samples
from exitsearch.specs.backbone import BackboneFacts
from exitsearch.specs.outcomes import Outcomes, as_value, check_score
from exitsearch.specs.question.candidates import Pair

Array = NDArray[np.float64]


class Valued(Protocol):
    """Whatever says what exits are worth: `Outcomes`, or a `Valuation` of them."""

    @property
    def document(self) -> Outcomes:
        """What was read."""

    @property
    def backbone(self) -> BackboneFacts:
        """Of which backbone."""

    @property
    def metric(self) -> str:
        """`accuracy`, `mae` or `utility`."""

    @property
    def fallback(self) -> float | None:
        """Score of having no answer in time; None where it is not known."""

    @property
    def source(self) -> str | None:
        """Where the scores come from, for people."""

    @property
    def splits(self) -> Mapping[str, int]:
        """Number of samples of each split."""

    @property
    def choice_split(self) -> str:
        """The split that is chosen on."""

    @property
    def report_split(self) -> str | None:
        """The split that a choice is judged on."""

    @property
    def holds_classes(self) -> bool:
        """Whether the outputs are those of a classification."""

    @property
    def utility_name(self) -> str | None:
        """What answers are worth instead of the metric, in words; None: the metric."""

    def values(self, split: str | None = None) -> dict[Pair, float]:
        """Value of every (placement, head) on one split; higher is better."""

    def final_value(self, split: str | None = None) -> float:
        """Value of the final exit on one split."""

    def samples(self, split: str) -> Samples | None:
        """Per-sample answers on one split, or None when only scores are known."""

    def each_value(self, outputs: ExitOutputs, labels: NDArray[Any]) -> NDArray[Any]:
        """What each sample's answer is worth [samples]."""

    def sample_weights(self, labels: NDArray[Any]) -> Array | None:
        """How much each sample counts [samples], 1 on the average; None: all alike."""


@dataclass(frozen=True)
class Ceiling:
    """The most that the answers of any exit can be worth on the split that is chosen on.

    Attributes:
        value: of an accuracy 1, of an error 0.
        assumption: what that takes for granted, in words; None: nothing, it is proved.
    """

    value: float
    assumption: str | None = None


class Valuation:
    """Outcomes, valued.

    Args:
        document: the outcomes.
        utility: what an answer is worth instead of the metric; it needs outcomes with samples.
        fallback: utility of having no answer in time; None takes the utility's own. Without a utility it is not used.

    Raises:
        InputError: the utility cannot be had of these outcomes.
    """

    def __init__(self, document: Outcomes, utility: Utility | None = None, *, fallback: float | None = None) -> None:
        self.document, self._utility = document, utility
        self.backbone, self.source, self.splits = document.backbone, document.source, document.splits
        self.choice_split, self.report_split = document.choice_split, document.report_split
        self.holds_classes = document.holds_classes
        self.metric, self.fallback = str(document.metric), document.fallback
        self.utility_name = None if utility is None else utility.name
        self.samples = cache(document.samples)
        if utility is not None:
            self.metric, self.fallback = "utility", utility.fallback if fallback is None else fallback
            if utility.of_classes and not document.holds_classes:
                raise InputError(
                    f"{utility.name} need outputs that are classes, the outcomes hold {document.metric}; "
                    "leave --class-weights out, or name a function with --worth"
                )
            _ = self._means  # what cannot be had is said before any search

    @cached_property
    def _means(self) -> dict[str, dict[Pair | None, float]]:
        """Mean utility of every exit, and under None of the final one, by split."""
        assert self._utility is not None
        means: dict[str, dict[Pair | None, float]] = {}
        for split in self.splits:
            samples = self.samples(split)
            if samples is None:
                raise InputError(
                    f"{self._utility.name}: the answer to every sample is needed, and "
                    f"{self.source or 'these outcomes'} hold only scores; train the heads with exitsearch train-heads"
                )
            means[split] = {None: float(self._utility(samples.final, samples.labels).mean())}
            for key, outputs in samples.outputs.items():
                means[split][key] = float(self._utility(outputs, samples.labels).mean())
        return means

    def values(self, split: str | None = None) -> dict[Pair, float]:
        """Value of every (placement, head) on one split; higher is better."""
        if self._utility is None:
            return self.document.values(split)
        return {key: mean for key, mean in self._means[split or self.choice_split].items() if key is not None}

    def final_value(self, split: str | None = None) -> float:
        """Value of the final exit on one split."""
        if self._utility is None:
            return self.document.final_value(split)
        return self._means[split or self.choice_split][None]

    @cached_property
    def ceiling(self) -> Ceiling:
        """The most that any exit can be worth.

        Of class weights that is being always right. What a function of the user's own returns at most cannot be known
        without trying every answer: sure and right answers stand for the best, and where a trained exit has been worth
        more on some sample, that.
        """
        if self._utility is None:
            return Ceiling(1.0 if self.metric == "accuracy" else 0.0)
        samples = self.samples(self.choice_split)
        assert samples is not None  # without them there are no values either
        labels = samples.labels
        if self._utility.weights is not None:
            return Ceiling(float(self._utility.weights(labels).mean()))
        perfect = _perfect(labels, samples.final.shape[1], classes=self.holds_classes)
        most = self._utility(perfect, labels)
        for outputs in (samples.final, *samples.outputs.values()):
            most = np.maximum(most, self._utility(outputs, labels))
        return Ceiling(
            float(most.mean()), f"by {self._utility.name} no answer is worth more than one that is right and sure of it"
        )

    def each_value(self, outputs: ExitOutputs, labels: NDArray[Any]) -> NDArray[Any]:
        """What each sample's answer is worth [samples]."""
        return self.document.each_value(outputs, labels) if self._utility is None else self._utility(outputs, labels)

    def sample_weights(self, labels: NDArray[Any]) -> Array | None:
        """How much each sample counts [samples], 1 on the average; None: all alike."""
        if self._utility is None or self._utility.weights is None:
            return None
        return self._utility.weights(labels)


# Logits of a class so far above the others have a softmax of 1 in float32 too.
_SURE = 100.0


def _perfect(labels: NDArray[Any], outputs: int, *, classes: bool) -> NDArray[np.float32]:
    """Outputs of an exit that is always right and sure of it [samples, outputs]; of a regression the targets."""
    if not classes:
        return np.broadcast_to(labels.reshape(len(labels), -1), (len(labels), outputs)).astype(np.float32)
    found = np.zeros((len(labels), outputs), dtype=np.float32)
    found[np.arange(len(labels)), labels.astype(np.int64)] = _SURE
    return found


def fallback_value(outcomes: Valued, asked: float | None) -> float:
    """Value of having no answer in time: what the user asked for, or what the outcomes know.

    Raises:
        InputError: when neither says it (an error metric from a table without `--fallback`).
    """
    score = outcomes.fallback if asked is None else asked
    if score is None:
        raise InputError(
            f"the value of having no answer in time is not known for {outcomes.metric}; give the error of the best "
            "constant answer with --fallback"
        )
    try:
        if asked is not None:
            check_score(asked, outcomes.metric, "--fallback")
    except ValueError as error:
        raise InputError(f"{error}; give another --fallback") from None
    return as_value(score, outcomes.metric)
