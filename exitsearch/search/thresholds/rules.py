"""Thresholds as others set them, to be compared with: MSDNet's quota and greedy lowering."""

from __future__ import annotations

import numpy as np

from exitsearch.search.problem import Array
from exitsearch.search.thresholds.replay import Replay, Staircase
from exitsearch.search.thresholds.scores import Floats

# MSDNet's evaluation (dynamic_inference in the authors' code): p from 1/20 to 39/20.
_QUOTAS = np.arange(1, 40) / 20
_GREEDY_LEVELS = 32


def quota(replay: Replay) -> Staircase:
    """MSDNet's rule: of the samples still there, exit k lets the surest ones go, a share p^k of all, normalised.

    Huang et al., Multi-Scale Dense Networks for Resource Efficient Image Classification, arXiv 1703.09844, section 5.
    One configuration for each p; the staircase holds the efficient ones.
    """
    return replay.staircase(np.array([quota_thresholds(replay.scores, float(p)) for p in _QUOTAS]))


def quota_thresholds(scores: Floats, p: float) -> Array:
    """Thresholds that let a share p^1, p^2, ..., normalised, of all samples leave at each exit.

    >>> scores = np.array([[0.9, 0.8, 0.7, 0.6], [0.0, 0.0, 0.3, 0.4]], dtype=np.float32)
    >>> quota_thresholds(scores, 1.0).round(2).tolist()  # a third each of four samples: one leaves at each exit
    [0.9, 0.4]

    Args:
        scores: confidence of each exit [exits, samples].
        p: above 0; below 1 more leave early.
    """
    exits, samples = scores.shape
    shares = p ** np.arange(1, exits + 2)
    counts = np.round(shares / shares.sum() * samples).astype(int)
    thresholds = np.full(exits, np.inf)
    staying = np.ones(samples, dtype=np.bool_)
    for k in range(exits):
        left = np.sort(scores[k][staying])[::-1]
        if counts[k] and len(left):
            thresholds[k] = left[min(counts[k], len(left)) - 1]
            staying &= scores[k] < np.float32(thresholds[k])
    return thresholds


def greedy_thresholds(replay: Replay) -> Staircase:
    """From all heads off, take again and again the step that buys most time for the least accuracy.

    A step is one exit's next lower threshold among 32 levels, or switching its head on at the highest. Steps that buy
    time at no loss come first. Every configuration on the way is an operating point.
    """
    levels = [
        np.unique(np.quantile(s, np.linspace(0, 1, _GREEDY_LEVELS), method="inverted_cdf")) for s in replay.scores
    ]
    ladders = [np.concatenate([level.astype(np.float64), [np.inf]])[::-1] for level in levels]
    place = [0] * replay.exits
    path = [np.full(replay.exits, np.inf)]
    cost, value = replay.point(path[0])
    while True:
        best: tuple[float, int, float, float] | None = None
        for k, ladder in enumerate(ladders):
            if place[k] + 1 == len(ladder):
                continue
            there = path[-1].copy()
            there[k] = ladder[place[k] + 1]
            there_ms, there_value = replay.point(there)
            saved, lost = cost - there_ms, value - there_value
            # The head of an exit is paid for by all, so its first steps may cost time.
            rate = np.inf if lost <= 0 and saved >= 0 else saved / max(lost, 1e-12) if lost > 0 else saved
            if best is None or rate > best[0]:
                best = (float(rate), k, there_ms, there_value)
        if best is None:
            return replay.staircase(np.array(path))
        _, k, cost, value = best
        place[k] += 1
        following = path[-1].copy()
        following[k] = ladders[k][place[k]]
        path.append(following)
