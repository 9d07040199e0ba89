"""The bound of an oracle: every sample gets the best answer that the budget can buy, whatever thresholds could say."""

from __future__ import annotations

import numpy as np

from exitsearch.search.problem import Array, Problem
from exitsearch.search.thresholds.scores import Answers

# Prices of latency (cheapest, dearest, how many), in units of all accuracy over all time that there is, and number of
# latencies by which a bound is made of prices. More of either lower it a little.
_PRICES, CELLS = (1e-2, 1e3, 48), 4000


def oracle_bound(problem: Problem, answers: Answers) -> float:
    """What no choice can exceed: an oracle sends every sample to the fastest candidate that answers it rightly.

    Every way to leave costs at least the backbone up to a placement and the head there, so at any price of latency the
    accuracy within a mean latency c is at most price * c + the mean of each sample's best (right - price * latency).
    """
    if problem.quantile is not None:
        return quantile_bound(problem, answers, problem.quantile)
    times = np.array([*(c.arrival_ms + c.head_ms for c in problem.candidates), problem.final_ms])
    if answers.right.dtype != np.bool_:
        return _priced_bound(problem, times, answers.right.astype(np.float64))
    first = np.where(answers.right, times[:, None], np.inf).min(axis=0)  # [samples]
    fastest, solved = float(times.min()), np.isfinite(first)
    # Serving the cheapest right answers first: accuracy as a function of mean latency, concave, linear in between.
    extra = np.sort(first[solved] - fastest)
    costs = fastest + np.concatenate([[0.0], np.cumsum(extra)]) / answers.samples
    free = np.count_nonzero(extra <= 0)
    costs, accuracies = costs[free:], np.arange(free, len(extra) + 1) / answers.samples
    reached = problem.survival(costs)
    # Between two of these points the accuracy is at most the later one's, and is reached at the earlier one's cost.
    steps = np.append(np.diff(accuracies), 0.0)
    start = max(float(accuracies[0]) - problem.fallback, 0.0) * float(reached[0])
    return float(problem.fallback + start + steps @ reached)


def _priced_bound(problem: Problem, times: Array, worth: Array) -> float:
    """The same for answers of any worth: the least of the lines that some prices give, at every mean latency."""
    prices, heights = oracle_lines(times, worth)
    return bound_of_lines(problem, prices, heights, (float(times.min()), float(times.max())))


def oracle_lines(times: Array, worth: Array) -> tuple[Array, Array]:
    """Prices of latency, and what the oracle's answers are worth less the price of their latency, mean over samples.

    Args:
        times: when each exit answers if no other head is run [exits].
        worth: of their answers [exits, samples].
    """
    unit = max(float(worth.max() - worth.min()), 1e-12) / max(float(times.max() - times.min()), 1e-12)
    prices = np.concatenate([[0.0], unit * np.geomspace(*_PRICES)])
    heights = np.array([(worth - price * times[:, None]).max(axis=0).mean() for price in prices])
    return prices, heights


def bound_of_lines(
    problem: Problem, prices: Array, heights: Array, span: tuple[float, float], *, grain: float = 0.0
) -> float:
    """The bound on the expected value where accuracy - price * mean latency is at most a height, for some prices.

    Args:
        span: the least mean latency there is, and one beyond which nothing is gained, in ms.
        grain: accuracies are multiples of this; 0 where they are any numbers.
    """
    costs = np.linspace(*span, CELLS)
    best = (heights[:, None] + prices[:, None] * costs).min(axis=0)
    if grain:
        best = np.floor(best / grain + 1e-6) * grain
    # Of what is gained between two latencies all is counted at the first. At the fastest itself nothing is saved.
    reached = problem.survival(costs)
    gains = np.diff(np.maximum(best, problem.fallback))
    start = max(float(best[0]) - problem.fallback, 0.0) * float(reached[0])
    return float(problem.fallback + start + np.maximum(gains, 0.0) @ reached[:-1])


def quantile_bound(problem: Problem, answers: Answers, quantile: float) -> float:
    """What no choice can exceed: every sample gets the best answer in time, a share 1 - q any later one."""
    times = np.array([*(c.arrival_ms + c.head_ms for c in problem.candidates), problem.final_ms])
    worth = answers.right
    best = worth.max(axis=0).astype(np.float64)
    late = int(np.floor((1 - quantile) * answers.samples + 1e-9))
    heights: list[float] = []
    reached = np.full(answers.samples, -np.inf)
    order = np.argsort(times, kind="stable")
    for row in order:
        reached = np.maximum(reached, worth[row])
        gains = best - reached
        later = float(np.partition(gains, len(gains) - late)[len(gains) - late :].sum()) if late else 0.0
        heights.append((float(reached.sum()) + later) / answers.samples)
    levels: Array = np.maximum.accumulate([problem.fallback, *heights])
    return float(problem.fallback + np.diff(levels) @ problem.survival(times[order]))
