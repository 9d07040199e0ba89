"""What a choice is worth on samples that took no part in it: expected value on the report split, and its interval.

Which exit's answer is used at which budget was decided by the values of the choice split; only what that answer is
worth comes from the report split. So the chances of the exits stay those of the choice, and weigh the report scores.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from exitsearch.errors import MismatchError
from exitsearch.search.problem import Array, Choice, Problem
from exitsearch.search.valuation import Valued
from exitsearch.search.value import exit_probabilities

_RESAMPLES = 2000
_STATED = 0.95
# Drawn indices held at once: 32 MiB.
_CHUNK = 2**22


def split_value(problem: Problem, choice: Choice, outcomes: Valued, split: str) -> float:
    """Expected value of a choice, with latency noise, when its answers are worth what they are on another split."""
    values = outcomes.values(split)
    scores = [values[c.placement, c.head] for c in problem.chosen(choice)]
    chances, nothing = exit_probabilities(problem, choice)
    return float(chances @ np.array([*scores, outcomes.final_value(split)])) + nothing * problem.fallback


def bootstrap_interval(
    problem: Problem, choice: Choice, outcomes: Valued, split: str, *, seed: int = 0, resamples: int = _RESAMPLES
) -> tuple[float, float] | None:
    """95% bootstrap interval of `split_value`, or None where only scores are known.

    It speaks of the value over the population that the samples are of, with latencies as profiled.

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
    weights = split_weights(outcomes, split)
    missed = nothing * problem.fallback * (1.0 if weights is None else weights)
    # The expected value is linear in the samples: each sample has one, and they are averaged.
    return mean_interval(values @ chances + missed, weights=weights, seed=seed, resamples=resamples)


def mean_interval(
    each: Array, *, weights: Array | None = None, seed: int = 0, resamples: int = _RESAMPLES
) -> tuple[float, float]:
    """95% bootstrap interval of the mean of some samples' values, corrected for bias and skewness.

    Values of good exits are skewed: nearly all 1, a few far below. A draw with few errors then has both too high a mean
    and too small a spread, and plain quantiles of the resampled means miss the truth on the lower side twice as often
    as stated (`scripts/check_interval.py`). So the quantiles are taken at the levels of Efron's BCa (Better Bootstrap
    Confidence Intervals, 1987), with a = sum d^3 / (6 (sum d^2)^1.5) for a mean, d being the distances from it.

    A weighted mean is a ratio, sum(weight * value) / sum(weight): a draw holds other weights too, so both sums are
    drawn, and d is weight * (value - mean), the influence of a sample on the ratio.

    No resampling shows what the samples lack: where all are equal, both ends are that value.

    Args:
        each: one number a sample [samples], at least one; where there are weights, multiplied by them.
        weights: how much each sample counts [samples], at least 0, not all 0; None: all alike.
    """
    mean = float(each.mean() if weights is None else each.sum() / weights.sum())
    distances = each - mean * (1.0 if weights is None else weights)
    squares = float((distances**2).sum())
    if squares <= 0:
        return mean, mean
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // len(each))
    means = np.concatenate(
        [
            _drawn_means(each, weights, rng.integers(len(each), size=(min(step, resamples - start), len(each))))
            for start in range(0, resamples, step)
        ]
    )
    normal = NormalDist()
    # Ties count half; sums of the same numbers in another order differ by rounding.
    ties = np.abs(means - mean) <= 1e-12 * np.abs(each).max()
    below = (np.count_nonzero((means < mean) & ~ties) + np.count_nonzero(ties) / 2) / max(1, len(means))
    bias = normal.inv_cdf(min(max(below, 1 / resamples), 1 - 1 / resamples))
    skew = float((distances**3).sum()) / (6 * squares**1.5)
    ends = [bias + sign * normal.inv_cdf((1 + _STATED) / 2) for sign in (-1, 1)]
    # One sample among many that are equal is as skewed as can be; the bound keeps the order of the levels.
    levels = [normal.cdf(bias + end / max(1 - skew * end, 0.1)) for end in ends]
    low, high = np.quantile(means, levels)
    return float(low), float(high)


def _drawn_means(each: Array, weights: Array | None, drawn: NDArray[np.int64]) -> Array:
    """Mean of every draw [draws]; one in which nothing weighs anything has none, and is left out."""
    if weights is None:
        means: Array = each[drawn].mean(axis=1)
        return means
    sums, totals = each[drawn].sum(axis=1), weights[drawn].sum(axis=1)
    return np.asarray(sums[totals > 0] / totals[totals > 0])


def split_weights(outcomes: Valued, split: str) -> Array | None:
    """How much each sample of a split counts [samples]; None: all alike."""
    samples = outcomes.samples(split)
    return None if samples is None else outcomes.sample_weights(samples.labels)


def sample_values(problem: Problem, choice: Choice, outcomes: Valued, split: str) -> Array | None:
    """What each sample's answers are worth [samples, exits + 1]: `outcomes.each_value`.

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
    return np.stack([outcomes.each_value(column, samples.labels) for column in columns], axis=1).astype(np.float64)
