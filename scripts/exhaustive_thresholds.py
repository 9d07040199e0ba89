"""Every threshold that three exits can have on some samples: what a grid would find if it were as fine as can be.

Thresholds only matter by which samples they let go, so an exit of n samples has at most n + 1 that differ, `off` among
them: 64 million configurations for 400 samples. For one threshold of the first exit all others are judged at once, from
sums over samples by their level of confidence at the second and the third exit; that takes seconds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from exitsearch.search.thresholds.replay import Replay

Array = NDArray[np.float64]


def exhaustive(replay: Replay) -> tuple[Array, Array]:
    """Least mean latency in ms for every accuracy that any thresholds reach, both rising [points].

    Args:
        replay: of three exits, answers right or wrong.
    """
    assert replay.exits == 3
    samples = replay.samples
    levels = [np.unique(scores, return_inverse=True)[1] for scores in replay.scores]
    sizes = [int(level.max()) + 1 for level in levels]
    head, arrival = replay.head, replay.arrival
    right = replay.right.astype(np.int64)
    on = [np.arange(size + 1) < size for size in sizes]  # the last threshold is off
    least = np.full(samples + 1, np.inf)
    for first in range(sizes[0] + 1):
        gone = levels[0] >= first
        rest = np.flatnonzero(~gone)
        wait = head[0] * on[0][first]
        spent = gone.sum() * (arrival[0] + head[0])
        second, third = levels[1][rest], levels[2][rest]
        waits = wait + head[1] * on[1]  # after the second exit, by its threshold
        there = np.bincount(second, minlength=sizes[1])
        spent2 = spent + _from(there) * (arrival[1] + wait + head[1])
        won2 = right[0][gone].sum() + _from(np.bincount(second, weights=right[1][rest], minlength=sizes[1]))
        # Samples that stay at the second exit, by threshold there and level at the third [thresholds, levels].
        cells = second * sizes[2] + third

        def staying(weights: Array | None = None, cells: NDArray[np.int64] = cells) -> Array:
            table = np.bincount(cells, weights=weights, minlength=sizes[1] * sizes[2]).reshape(sizes[1], sizes[2])
            return np.vstack([np.zeros(sizes[2]), np.cumsum(table, axis=0)])

        counts = staying()
        leaving = _from(counts)
        waits3 = waits[:, None] + head[2] * on[2]
        costs = spent2[:, None] + leaving * (arrival[2] + waits[:, None] + head[2])
        costs += (counts.sum(axis=1, keepdims=True) - leaving) * (arrival[3] + waits3)
        last = staying(right[3][rest].astype(np.float64))
        won = won2[:, None] + _from(staying(right[2][rest].astype(np.float64)))
        won += last.sum(axis=1, keepdims=True) - _from(last)
        np.minimum.at(least, np.rint(won).astype(np.int64).ravel(), costs.ravel())
    # An accuracy is also reached by whatever reaches a higher one for less.
    cheapest = np.minimum.accumulate(least[::-1])[::-1]
    counts_right = np.flatnonzero(least <= cheapest)
    counts_right = counts_right[np.isfinite(least[counts_right])]
    return least[counts_right] / samples, counts_right / samples


def _from(table: NDArray[np.float64 | np.int64]) -> Array:
    """Sums over the last axis from each threshold on, and 0 for off."""
    sums = np.cumsum(table[..., ::-1], axis=-1, dtype=np.float64)[..., ::-1]
    return np.concatenate([sums, np.zeros((*table.shape[:-1], 1))], axis=-1)
