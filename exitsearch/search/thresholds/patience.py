"""Patience: every threshold that can matter.

How many answers in a row agree is at most the number of exits before, so an exit has few thresholds; and what stays
under a threshold of n has a count below n, so that larger ones soon let nothing go. The configurations that differ
grow like Catalan's numbers, some thousands of eight exits. All are followed exit by exit, with samples that agree in
the same way taken together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from exitsearch.search.problem import Array
from exitsearch.search.thresholds.replay import Replay, Staircase, efficient

# Cells (configurations x ways to agree) that are held at once: some seconds of work at most.
_MOST_CELLS = 4_000_000


def every_threshold(replay: Replay) -> Staircase | None:
    """The operating points among all thresholds, exactly; None where they are too many to be tried.

    Args:
        replay: of the score `patience`, under which every head is run.
    """
    assert not replay.skippable
    exits, samples = replay.exits, replay.samples
    counts, groups = np.unique(replay.scores, axis=1, return_inverse=True)  # [exits, ways]
    groups = groups.ravel()
    ways = counts.shape[1]
    sizes = np.bincount(groups, minlength=ways).astype(np.float64)
    right = [np.bincount(groups, weights=row.astype(np.float64), minlength=ways) for row in replay.right]
    times = replay.arrival + np.cumsum(replay.head)
    enough = -np.inf if replay.quantile is None else (replay.quantile - 1e-9) * samples
    staying: NDArray[np.bool_] = np.ones((1, ways), dtype=np.bool_)
    thresholds, won, cost, gone = np.full((1, exits), np.inf), np.zeros(1), np.zeros(1), np.zeros(1)
    ended: list[tuple[Array, Array, Array]] = []

    def end(k: int) -> None:
        """All that stays leaves at an exit."""
        rows = thresholds.copy()
        rows[:, k : k + 1] = 0.0
        last = (
            np.where(gone < enough, times[k], cost)
            if replay.quantile is not None
            else cost + staying @ sizes * times[k]
        )
        ended.append((last, won + staying @ right[k], rows))

    for k in range(exits):
        end(k)
        parts = [(staying, thresholds, won, cost, gone)]
        for count in range(1, int(counts[k].max()) + 1):
            rows = np.flatnonzero((staying & (counts[k] == count)).any(axis=1))
            leaving = staying[rows] & (counts[k] >= count)
            left = leaving @ sizes
            there = thresholds[rows].copy()
            there[:, k] = count
            out = gone[rows] + left
            if replay.quantile is None:
                spent = cost[rows] + left * times[k]
            else:
                spent = np.where((gone[rows] < enough) & (out >= enough), times[k], cost[rows])
            parts.append((staying[rows] & ~leaving, there, won[rows] + leaving @ right[k], spent, out))
            if sum(len(part[1]) for part in parts) * ways > _MOST_CELLS:
                return None
        staying, thresholds, won, cost, gone = (np.concatenate(column) for column in zip(*parts, strict=True))
    end(exits)
    costs, values, rows = (np.concatenate(column) for column in zip(*ended, strict=True))
    if replay.quantile is None:
        costs = costs / samples
    best = efficient(costs, values / samples)
    return Staircase(costs[best], values[best] / samples, rows[best].astype(np.float64))
