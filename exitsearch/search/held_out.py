"""What a choice is worth on samples that took no part in it: expected value on the report split, and its interval.

Which exit's answer is used at which budget was decided by the values of the choice split; only what that answer is
worth comes from the report split. So the chances of the exits stay those of the choice, and weigh the report scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitsearch.errors import MismatchError
from exitsearch.search.problem import Array, Choice, Problem
from exitsearch.search.value import exit_probabilities
from exitsearch.specs.outcomes import Outcomes

_RESAMPLES = 1000
# Drawn indices held at once: 32 MiB.
_CHUNK = 2**22


def split_value(problem: Problem, choice: Choice, outcomes: Outcomes, split: str) -> float:
    """Expected value of a choice, with latency noise, when its answers are worth what they are on another split."""
    values = outcomes.values(split)
    scores = [values[c.placement, c.head] for c in problem.chosen(choice)]
    chances, nothing = exit_probabilities(problem, choice)
    return float(chances @ np.array([*scores, outcomes.final_value(split)])) + nothing * problem.fallback


def bootstrap_interval(
    problem: Problem, choice: Choice, outcomes: Outcomes, split: str, *, seed: int = 0, resamples: int = _RESAMPLES
) -> tuple[float, float] | None:
    """95% percentile interval of `split_value` over resampled samples, or None where only scores are known.

    Args:
        seed: seed of the resampling.
        resamples: how often the samples are drawn anew, with replacement.

    Raises:
        FileError: the samples file is missing or foreign.
        MismatchError: the samples do not fit together.
    """
    values = sample_values(problem, choice, outcomes, split)
    if values is None:
        return None
    chances, nothing = exit_probabilities(problem, choice)
    # The expected value is linear in the samples: each sample has one, and they are averaged.
    return mean_interval(values @ chances + nothing * problem.fallback, seed=seed, resamples=resamples)


def mean_interval(each: Array, *, seed: int = 0, resamples: int = _RESAMPLES) -> tuple[float, float]:
    """95% percentile interval of the mean of some samples' values, by drawing them anew with replacement.

    Args:
        each: one number a sample [samples], at least one.
    """
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // len(each))
    means = [
        each[rng.integers(len(each), size=(min(step, resamples - start), len(each)))].mean(axis=1)
        for start in range(0, resamples, step)
    ]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def sample_values(problem: Problem, choice: Choice, outcomes: Outcomes, split: str) -> Array | None:
    """What each sample's answers are worth [samples, exits + 1]: 1 where right, or minus the absolute error.

    The last column is the final exit. None where only scores are known.
    """
    samples = outcomes.samples(split)
    if samples is None:
        return None
    columns = [samples.outputs[c.placement, c.head] for c in problem.chosen(choice)] + [samples.final]
    if not len(samples.labels) or any(len(column) != len(samples.labels) for column in columns):
        raise MismatchError(
            f"the samples of split {split} need one row of outputs for each of {len(samples.labels)} labels, at least "
            "one; make the outcomes again with exitsearch train-heads"
        )
    return np.stack([_worth(column, samples.labels, outcomes.metric) for column in columns], axis=1)


def _worth(outputs: NDArray[np.float32], labels: NDArray[Any], metric: str) -> Array:
    if metric == "accuracy":
        right: Array = (outputs.argmax(axis=1) == labels).astype(np.float64)
        return right
    error: Array = -np.abs(outputs[:, 0].astype(np.float64) - labels.reshape(-1))
    return error
