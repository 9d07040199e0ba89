"""Thresholds optimised: operating points over all budgets, when they limit the mean latency.

The optimiser prices latency: for a price it maximises accuracy - price * latency over one threshold at a time, the last
exit first, until nothing moves. All thresholds of one exit are judged at once, from sums over the samples by level of
confidence. Every one of them is an operating point too, so a few prices give a dense staircase. Polishing looks at all
thresholds of each exit around every point of the staircase, where prices alone would miss points between two supported
ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from exitsearch.search.problem import Array
from exitsearch.search.thresholds.replay import Ints, Replay, Staircase, efficient
from exitsearch.search.thresholds.scores import Floats

Levels = NDArray[np.uint16]

# Levels of confidence that the optimiser tells apart, as equally frequent as ties allow: a step moves a thousandth of
# the samples, a tenth of a point at most.
MOST_LEVELS = 1000
# Points around which a polishing round looks, spread over the staircase.
_POLISHED = 64
# Rounds over the exits at one price. Two or three are usual.
_MOST_ROUNDS = 8
# Prices, in units of (all accuracy that there is to gain) / (all time that there is to lose): a steep staircase's first
# steps gain some hundred times the average, its last ones a hundredth.
_CHEAPEST, _DEAREST = 0.003, 300.0


def edges_of(scores: Floats, levels: int) -> Floats:
    """At most so many levels of confidence, as equally frequent as ties allow: the least score of each, ascending."""
    cuts = np.quantile(scores, np.linspace(0, 1, levels + 1)[:-1], method="inverted_cdf")
    # No score is below 0, on any split: there all samples leave.
    return np.unique(np.append(cuts[cuts > scores.min()], np.float32(0))).astype(np.float32)


def optimise(replay: Replay, *, prices: int = 16, levels: int = MOST_LEVELS, polish: int = 2) -> Staircase:
    """Operating points over all budgets, when they limit the mean latency.

    Args:
        prices: how many prices of latency are tried, at least 1.
        levels: levels of confidence told apart at each exit, 2 to 65,000.
        polish: how often the neighbourhood of the whole staircase is looked at, at least 0.
    """
    return _Optimiser(replay, levels).staircase(prices, polish)


class _Optimiser:
    """Coordinate ascent at rising and falling prices. Thresholds are numbers of levels; `len(edges)` is `off`."""

    def __init__(self, replay: Replay, levels: int) -> None:
        self.replay = replay
        self.edges: list[Floats] = []
        self.levels: list[Levels] = []
        for scores in replay.scores:
            edges = edges_of(scores, levels)
            self.edges.append(edges)
            self.levels.append((np.searchsorted(edges, scores, side="right") - 1).astype(np.uint16))
        self.found = (np.zeros(0), np.zeros(0), np.zeros((0, replay.exits), dtype=np.int64))
        # Exit, levels of all exits, and mean latency and accuracy at every level of that exit.
        self.curves: list[tuple[int, Ints, Array, Array]] = []

    def staircase(self, prices: int, polish: int) -> Staircase:
        """Every efficient point met on the way."""
        replay = self.replay
        if not replay.exits:
            cost, value = replay.point(np.zeros(0))
            return Staircase(np.array([cost]), np.array([value]), np.zeros((1, 0)))
        worth = replay.right.mean(axis=1)
        times = replay.arrival + np.cumsum(replay.head)
        unit = max(float(worth.max() - worth.min()), 1 / replay.samples) / max(float(times[-1] - times[0]), 1e-12)
        ladder = unit * np.geomspace(_CHEAPEST, _DEAREST, prices)
        off = np.array([len(edges) for edges in self.edges])
        for start, tried in ((off, ladder), (np.zeros_like(off), ladder[::-1])):
            current = start
            for price in tried:
                current = self._ascend(current, float(price))
        costs, values, levels = self._points()
        for _ in range(polish):
            for start in self._neighbourhood(levels, off):
                for _ in self._sweep(start):
                    pass
            before = len(costs), values.sum()
            costs, values, levels = self._points()
            if before == (len(costs), values.sum()):
                break
        edges = [np.append(edges, np.float32(np.inf)) for edges in self.edges]
        thresholds = np.stack([edges[k][levels[:, k]] for k in range(replay.exits)], axis=1)
        return Staircase(costs, values, thresholds.astype(np.float64))

    def _neighbourhood(self, levels: Ints, off: Ints) -> Iterator[Ints]:
        """Points spread over the staircase, and some of them with one exit off or letting all go.

        A head that is off costs nothing, and thresholds behind an exit that lets all go are anyone's: from either, the
        way to a better point leads through two exits at once.
        """

        def spread(most: int) -> Ints:
            return np.unique(np.linspace(0, len(levels) - 1, most).astype(np.int64))

        for row in spread(_POLISHED):
            yield levels[row]
        for row in spread(max(1, _POLISHED // (2 * len(off)))):
            for k, switch in itertools.product(range(len(off)), (0, 1)):
                switched = levels[row].copy()
                switched[k] = switch * off[k]
                yield switched

    def _points(self) -> tuple[Array, Array, Ints]:
        """Cost, accuracy and levels of every efficient point so far; the other points are let go."""
        parts = [self.found]
        for k, base, costs, values in self.curves:
            rows = efficient(costs, values)
            levels = np.repeat(base[None], len(rows), axis=0)
            levels[:, k] = rows
            parts.append((costs[rows], values[rows], levels))
        costs, values, levels = (np.concatenate(column) for column in zip(*parts, strict=True))
        rows = efficient(costs, values)
        self.found, self.curves = (costs[rows], values[rows], levels[rows]), []
        return self.found

    def _ascend(self, start: Ints, price: float) -> Ints:
        current = start.copy()
        for _ in range(_MOST_ROUNDS):
            before = current.copy()
            for k, costs, values in self._sweep(current):
                gain = values - price * costs
                choice = int(gain.argmax())
                # Moved only for a true gain, so that rounding does not make it wander.
                if gain[choice] > gain[current[k]] + 1e-12:
                    current[k] = choice
            if (before == current).all():
                break
        return current

    def _sweep(self, current: Ints) -> Iterator[tuple[int, Array, Array]]:
        """Exits from the last to the first, each with mean latency and accuracy at every threshold of its own.

        `current` is read anew at every step, so that the caller may move the threshold just seen.
        """
        replay, total = self.replay, self.replay.samples
        reached = [np.ones(total, dtype=np.bool_)]
        spent, won, delays = [0.0], [0.0], [0.0]
        for k in range(replay.exits):
            here = reached[k] & (self.levels[k] >= current[k])
            runs = current[k] < len(self.edges[k]) or not replay.skippable
            delays.append(delays[k] + (replay.head[k] if runs else 0.0))
            spent.append(spent[k] + np.count_nonzero(here) * (replay.arrival[k] + delays[k + 1]))
            won.append(won[k] + replay.won(k, here))
            reached.append(reached[k] & ~here)
        # Of a sample that goes on: whether its answer will be right, and when it comes, delays before here left out.
        later_right = replay.right[-1].astype(np.float64)
        later_ms = np.full(total, replay.arrival[-1])
        for k in reversed(range(replay.exits)):
            levels, count = self.levels[k], len(self.edges[k])
            rows = np.flatnonzero(reached[k])
            mine = levels[rows]
            head, leaves_ms = replay.head[k], replay.arrival[k] + replay.head[k]
            sizes = np.bincount(mine, minlength=count)
            if replay.right.dtype == np.bool_:  # quicker than weights
                right = np.bincount(mine[replay.right[k][rows]], minlength=count)
            else:
                right = np.bincount(mine, weights=replay.right[k][rows], minlength=count)
            goes_right = np.bincount(mine, weights=later_right[rows], minlength=count)
            goes_ms = np.bincount(mine, weights=later_ms[rows], minlength=count)
            # Threshold q: levels from q on leave, those below go on; q = count is off.
            below = np.concatenate([[0.0], np.cumsum(goes_right)])
            above = np.concatenate([np.cumsum(right[::-1])[::-1], [0.0]])
            values = won[k] + below + above
            waits = np.concatenate([[0.0], np.cumsum(goes_ms + sizes * head)])
            if replay.skippable:
                waits[-1] -= len(rows) * head
            leaves = np.concatenate([np.cumsum(sizes[::-1])[::-1] * leaves_ms, [0.0]])
            costs = (spent[k] + len(rows) * delays[k] + waits + leaves) / total
            values = values / total
            self.curves.append((k, current.copy(), costs, values))
            yield k, costs, values
            here = levels >= current[k]
            runs = current[k] < count or not replay.skippable
            later_right = np.where(here, replay.right[k], later_right)
            later_ms = np.where(here, leaves_ms, later_ms + head * runs)
