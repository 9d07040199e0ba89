"""Thresholds for budgets that limit a quantile of the latency over samples, not its mean.

The q-quantile is the time of the first exit by which a share q of the samples has left: the *cut*. Leaving before the
cut saves nothing, and what leaves after it costs nothing, as long as that is no more than 1 - q of the samples. So an
operating point is a cut, the heads that are run before it (each delays it, and may only be more often right), and the
thresholds with the highest accuracy among those that let at most 1 - q of the samples pass the cut. With a cost of 1
for passing and 0 for leaving before, the mean cost is that share, and the optimiser for mean costs finds them.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from exitsearch.search.answers import Answers
from exitsearch.search.confidence import MOST_LEVELS, Replay, Staircase, optimise
from exitsearch.search.problem import Array, Problem

# Heads run before the cut, at most. A second one rarely adds a tenth of a point.
MOST_BEFORE = 2


def operating_points(
    replay: Replay,
    *,
    prices: int = 16,
    levels: int = MOST_LEVELS,
    polish: int = 2,
    before: int = MOST_BEFORE,
) -> Staircase:
    """Operating points over all budgets, whatever it is of the latency that they limit.

    Args:
        prices, levels, polish: as for `optimise`.
        before: most heads that are run before the cut; under patience all are.
    """
    if replay.quantile is None:
        return optimise(replay, prices=prices, levels=levels, polish=polish)
    found = []
    for cut in range(replay.exits + 1):
        costs = (np.arange(replay.exits + 1) > cut).astype(np.float64)
        for on in _run_by(replay, cut, before):
            part = replay.part(on, costs)
            stairs = optimise(part, prices=prices, levels=levels, polish=polish)
            within = stairs.at(1 - replay.quantile + 1e-9)
            if within is not None:
                thresholds = np.full(replay.exits, np.inf)
                thresholds[on] = stairs.thresholds[within]
                found.append(thresholds)
    return replay.staircase(np.array(found).reshape(len(found), replay.exits))


def _run_by(replay: Replay, cut: int, before: int) -> list[list[int]]:
    """Exits that are on, for each set of heads before the cut."""
    after = list(range(cut, replay.exits))
    if not replay.skippable:
        return [list(range(replay.exits))]
    sizes = range(min(before, cut) + 1)
    return [[*some, *after] for size in sizes for some in combinations(range(cut), size)]


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
