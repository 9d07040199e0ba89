"""Thresholds for budgets that limit a quantile of the latency over samples, not its mean.

The q-quantile is the time of the first exit by which a share q of the samples has left: the *cut*. Leaving before the
cut saves nothing, and what leaves after it costs nothing, as long as that is no more than 1 - q of the samples. So an
operating point is a cut, the heads that are run before it (each delays it, and may only be more often right), and the
thresholds with the highest accuracy among those that let at most 1 - q of the samples pass the cut.

The thresholds of the cut and of one exit before it are found together: a table over both exits' levels of confidence
holds for every pair of thresholds how many samples pass and how many answers are right, from running sums. Further
heads before the cut are added one at a time to the best of these, with the same table for the new head and the cut.
After the cut nothing is limited, and the thresholds there are set by turns, the last exit first, for what passes.

Under patience every head is run and thresholds are few: `patience.py` tries them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exitsearch.search.problem import Array
from exitsearch.search.thresholds.optimise import MOST_LEVELS, edges_of, optimise
from exitsearch.search.thresholds.patience import every_threshold
from exitsearch.search.thresholds.replay import Ints, Replay, Staircase, efficient
from exitsearch.search.thresholds.scores import Floats

# Heads run before the cut, at most. A second one rarely adds a tenth of a point.
MOST_BEFORE = 2
# Levels of each exit in a table of two exits; where the judge is thorough, a finer table around the best pair follows.
_PAIR_LEVELS, _QUICK_PAIR_LEVELS = 64, 32
# Distinct scores on either side that the finer table holds, at most.
_WINDOW = 24
# Sets of heads before a cut to which one more is added, of each size.
_WIDTH, _QUICK_WIDTH = 3, 1
# Points that are so much below the staircase are refined too: finer thresholds rarely add as much.
_NEAR = 0.01
# Turns between the thresholds up to the cut and those after it.
_ROUNDS = 3


@dataclass(frozen=True)
class _Point:
    """Thresholds for a cut, and the accuracy that they were found with, in samples."""

    cut: int
    before: tuple[int, ...]
    right: float
    thresholds: Array


def operating_points(replay: Replay, *, quick: bool = False, before: int = MOST_BEFORE) -> Staircase:
    """Operating points over all budgets, whatever it is of the latency that they limit.

    Args:
        quick: coarser and some twenty times faster, to compare choices by.
        before: most heads that are run before the cut; under patience all are.
    """
    if not replay.skippable:
        every = every_threshold(replay)
        if every is not None:
            return every
    if replay.quantile is None:
        return optimise(replay, prices=8, levels=32, polish=0) if quick else optimise(replay)
    if not replay.skippable:
        return _priced(replay, quick=quick)
    return _Cuts(replay, before, quick=quick).staircase()


def _priced(replay: Replay, *, quick: bool) -> Staircase:
    """Under patience with more exits than all thresholds can be tried of: passing a cut costs 1, all else nothing."""
    assert replay.quantile is not None
    found = []
    for cut in range(replay.exits + 1):
        costs = (np.arange(replay.exits + 1) > cut).astype(np.float64)
        part = replay.part(range(replay.exits), costs)
        stairs = optimise(part, prices=8, levels=32, polish=0) if quick else optimise(part)
        within = stairs.at(1 - replay.quantile + 1e-9)
        if within is not None:
            found.append(stairs.thresholds[within])
    return replay.staircase(np.array(found).reshape(len(found), replay.exits))


class _Cuts:
    """Thresholds of one choice for every cut. An exit's level is the number of edges that a score reaches."""

    def __init__(self, replay: Replay, before: int, *, quick: bool) -> None:
        assert replay.quantile is not None
        self.replay, self.before, self.quick = replay, before, quick
        self.right = replay.right.astype(np.float64)
        self.late = int((1 - replay.quantile + 1e-9) * replay.samples)
        levels = _QUICK_PAIR_LEVELS if quick else _PAIR_LEVELS
        self.coarse = [edges_of(scores, levels) for scores in replay.scores]
        self.coarse_levels = [_level(*pair) for pair in zip(self.coarse, replay.scores, strict=True)]
        self.fine = [edges_of(scores, levels if quick else MOST_LEVELS) for scores in replay.scores]
        self.fine_levels = [_level(*pair) for pair in zip(self.fine, replay.scores, strict=True)]
        self.sorted = [np.unique(scores) for scores in replay.scores]

    def staircase(self) -> Staircase:
        """Every efficient point that is found."""
        replay = self.replay
        found = [point for cut in range(replay.exits + 1) for point in self._points(cut)]
        if not self.quick:
            found += [self._refined(found[row]) for row in self._near(found)]
        return replay.staircase(np.array([point.thresholds for point in found]).reshape(len(found), replay.exits))

    def _near(self, found: list[_Point]) -> Ints:
        """Points that are on the staircase or little below it."""
        times = np.array([self._time(point) for point in found])
        values = np.array([point.right for point in found]) / self.replay.samples
        rows = efficient(times, values)
        ahead = values[rows][np.searchsorted(times[rows], times, side="right") - 1]
        return np.flatnonzero(values >= ahead - _NEAR)

    def _time(self, point: _Point) -> float:
        return float(self.replay.arrival[point.cut] + self.replay.head[[*point.before, point.cut]].sum())

    def _points(self, cut: int) -> list[_Point]:
        """The best thresholds with no head before the cut, with each, and with the more that the best are given."""
        start = np.full(self.replay.exits, np.inf)
        if cut < self.replay.exits:
            # What passes is taken to be what the cut is least sure of, until thresholds before it are known.
            start = self._after(cut, np.argsort(self.replay.scores[cut], kind="stable")[: self.late], start)
        later = self._outcome(cut, start)
        alone = self._alone(cut, start, later)
        found, parents = [alone], [alone]
        seen: set[frozenset[int]] = set()
        for _ in range(min(self.before, cut)):
            added = []
            for parent in parents:
                others = [k for k in range(cut) if k not in parent.before]
                fresh = [k for k in others if frozenset((*parent.before, k)) not in seen]
                seen.update(frozenset((*parent.before, k)) for k in fresh)
                if fresh:
                    added += self._with_each(parent, fresh, later)
            added.sort(key=lambda point: -point.right)
            found += added
            parents = added[: _QUICK_WIDTH if self.quick else _WIDTH]
        return found

    def _alone(self, cut: int, start: Array, later: Array) -> _Point:
        """The cut with no head before it: as many as may pass go on, or fewer."""
        if cut == self.replay.exits:
            return _Point(cut, (), float(self.right[cut].sum()), start)
        levels, count = self.fine_levels[cut], len(self.fine[cut])
        gains = np.bincount(levels, weights=self.right[cut] - later, minlength=count + 1)
        passing = np.cumsum(np.bincount(levels, minlength=count + 1))[:-1]
        # Threshold q: levels above q leave.
        right = later.sum() + np.cumsum(gains[::-1])[::-1][1:]
        right[passing > self.late] = -np.inf
        best = int(right.argmax())
        thresholds = start.copy()
        thresholds[cut] = self.fine[cut][best]
        return _Point(cut, (), float(right[best]), thresholds)

    def _with_each(self, parent: _Point, exits: Sequence[int], later: Array) -> list[_Point]:
        """One more head before the cut: each of some exits, together with a new threshold of the cut."""
        found = []
        for exit_ in exits:
            table = self._table(parent, exit_, later)[:-1]  # the last row is off
            best, at_cut = divmod(int(table.argmax()), table.shape[1])
            thresholds = parent.thresholds.copy()
            thresholds[exit_] = self.coarse[exit_][best]
            if parent.cut < self.replay.exits:
                thresholds[parent.cut] = self.coarse[parent.cut][at_cut]
            before = tuple(sorted((*parent.before, exit_)))
            if np.isfinite(table[best, at_cut]):
                found.append(_Point(parent.cut, before, float(table[best, at_cut]), thresholds))
        return found

    def _table(self, point: _Point, exit_: int, later: Array, edges: tuple[Floats, Floats] | None = None) -> Array:
        """How many answers are right at every pair of thresholds of an exit before the cut and of the cut.

        Args:
            point: the thresholds of the other exits before the cut.
            exit_: the exit before the cut.
            later: whether the answer of what passes the cut is right [samples].
            edges: of both exits; None takes the coarse ones.

        Returns:
            [edges of the exit and off, edges of the cut]; minus infinity where more pass than may.
        """
        replay, cut = self.replay, point.cut
        if edges is None:
            mine, count = self.coarse_levels[exit_], len(self.coarse[exit_])
        else:
            mine, count = _level(edges[0], replay.scores[exit_]), len(edges[0])
        if cut == replay.exits:
            at_cut, cuts = np.ones(replay.samples, dtype=np.int64), 1
        elif edges is None:
            at_cut, cuts = self.coarse_levels[cut], len(self.coarse[cut])
        else:
            at_cut, cuts = _level(edges[1], replay.scores[cut]), len(edges[1])
        taken = self._taken([k for k in point.before if k != exit_], point.thresholds)
        free = taken == replay.exits
        rest = np.where(free, later, self.right[taken, np.arange(replay.samples)])
        there = taken > exit_
        gains = np.bincount(mine[there], weights=(self.right[exit_] - rest)[there], minlength=count + 1)
        leave = np.append(np.cumsum(gains[::-1])[::-1][1:], 0.0)
        cells = mine[free] * (cuts + 1) + at_cut[free]
        shape, size = (count + 1, cuts + 1), (count + 1) * (cuts + 1)
        passing = np.bincount(cells, minlength=size).reshape(shape).cumsum(axis=0).cumsum(axis=1)[:, :-1]
        won = np.bincount(cells, weights=(self.right[cut] - later)[free], minlength=size).reshape(shape)
        won = won.cumsum(axis=0)[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
        table: Array = np.where(passing <= self.late, rest.sum() + leave[:, None] + won, -np.inf)
        return table

    def _taken(self, exits: Sequence[int], thresholds: Array) -> Ints:
        """Which of some exits takes each sample; the number of all exits where none does [samples]."""
        taken = np.full(self.replay.samples, self.replay.exits)
        for k in sorted(exits, reverse=True):
            taken[self.replay.scores[k] >= np.float32(thresholds[k])] = k
        return taken

    def _after(self, cut: int, passing: Ints, start: Array) -> Array:
        """New thresholds after the cut for what passes it, two turns over the exits from the last to the first."""
        replay, thresholds = self.replay, start.copy()
        thresholds[cut + 1 :] = np.inf
        if not len(passing):
            return thresholds
        for _ in range(2):
            later, changed = self.right[-1][passing], False
            taken = self._taken(range(cut + 1, replay.exits), thresholds)[passing]
            for k in range(replay.exits - 1, cut, -1):
                here, levels = taken >= k, self.fine_levels[k][passing]
                gains = self.right[k][passing] - later
                sums = np.bincount(levels[here], weights=gains[here], minlength=len(self.fine[k]) + 1)
                won = np.append(np.cumsum(sums[::-1])[::-1][1:], 0.0)
                best = int(won.argmax())
                edges = np.append(self.fine[k], np.float32(np.inf))
                if won[best] > won[np.searchsorted(edges, np.float32(thresholds[k]))] + 1e-12:
                    thresholds[k], changed = float(edges[best]), True
                later = np.where(
                    levels > np.searchsorted(edges, np.float32(thresholds[k])), self.right[k][passing], later
                )
            if not changed:
                break
        return thresholds

    def _outcome(self, cut: int, thresholds: Array) -> Array:
        """Whether the answer of a sample that passes the cut is right [samples]."""
        if cut == self.replay.exits:
            return np.zeros(self.replay.samples)
        taken = self._taken(range(cut + 1, self.replay.exits), thresholds)
        return self.right[taken, np.arange(self.replay.samples)]

    def _refined(self, point: _Point) -> _Point:
        """By turns: thresholds after the cut for what truly passes it, and finer ones of every pair up to the cut."""
        best = point
        for _ in range(_ROUNDS):
            cut, thresholds = best.cut, best.thresholds
            if cut < self.replay.exits:
                passing = np.flatnonzero(self._taken([*best.before, cut], thresholds) == self.replay.exits)
                fresh = self._after(cut, passing, thresholds)
                if self._outcome(cut, fresh)[passing].sum() > self._outcome(cut, thresholds)[passing].sum():
                    thresholds = fresh
            later = self._outcome(cut, thresholds)
            turned = _Point(cut, best.before, -np.inf, thresholds)
            if not best.before:
                turned = self._alone(cut, thresholds, later)
            for exit_ in best.before:
                turned = self._turned(turned, exit_, later)
            if turned.right <= best.right:
                break
            best = turned
        return best

    def _turned(self, point: _Point, exit_: int, later: Array) -> _Point:
        """The best thresholds of an exit before the cut and of the cut: on the coarse table, then around them."""
        cut, best = point.cut, point
        final = cut == self.replay.exits
        for fine in (False, True):
            mine = self._around(exit_, best.thresholds[exit_]) if fine else self.coarse[exit_]
            at_cut = np.zeros(1, np.float32) if final else self.coarse[cut]
            if fine and not final:
                at_cut = self._around(cut, best.thresholds[cut])
            table = self._table(best, exit_, later, (mine, at_cut) if fine else None)
            row, column = divmod(int(table.argmax()), table.shape[1])
            if table[row, column] > best.right:
                thresholds = best.thresholds.copy()
                thresholds[exit_] = np.append(mine, np.float32(np.inf))[row]
                if not final:
                    thresholds[cut] = at_cut[column]
                best = _Point(cut, best.before, float(table[row, column]), thresholds)
        return best

    def _around(self, exit_: int, threshold: float) -> Floats:
        """Scores near a threshold: all of them up to the next coarse edges where these are few."""
        scores = self.sorted[exit_]
        reach = -(-len(scores) // _PAIR_LEVELS)
        middle = int(np.searchsorted(scores, np.float32(threshold)))
        near = scores[max(0, middle - reach) : middle + reach + 1 : -(-reach // _WINDOW)]
        if np.isfinite(threshold):
            near = np.append(near, np.float32(threshold))
        return np.unique(near)


def _level(edges: Floats, scores: Floats) -> Ints:
    return np.asarray(np.searchsorted(edges, scores, side="right"), dtype=np.int64)
