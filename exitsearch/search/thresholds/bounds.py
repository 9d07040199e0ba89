"""An upper bound for the policy confidence: what no choice of exits with any thresholds can exceed.

An oracle that sends every sample to the fastest right answer is one bound, but no threshold can be an oracle: what
leaves at an exit is all that is at least so sure there. With a price on latency, this is put back by Lagrangian
decomposition (Komodakis et al., MRF Energy Minimization and Beyond via Dual Decomposition, 2011). Every sample is given
its own state at every exit (off, pass, leave), and prices on the states make the samples agree with the thresholds:

    accuracy - price * latency <= mean over samples of max over its states of (right - price * latency - state prices)
                                + sum over placements of max over off, and head and threshold, of the state prices.

This holds for any state prices. The right side is convex in them, and subgradient steps lower it; with none it is the
oracle. Both parts are cheap: a sample leaves at the best of its exits, before which it passes heads or finds them off
and behind which it is free, and the thresholds of an exit are judged at once by sums over its samples in order.

Where a budget limits a quantile of the latency, each cut has a bound of its own (`quantile.py`): being late, which a
share 1 - q of the samples may be, has the price, and as many heads stand before the cut as there is time for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exitsearch.search.problem import Array, Problem
from exitsearch.search.thresholds.oracle import bound_of_lines, oracle_bound, oracle_lines
from exitsearch.search.thresholds.replay import Ints, Staircase
from exitsearch.search.thresholds.scores import Answers

# Prices of latency (cheapest, dearest, how many), in units of all accuracy over all time that there is.
_PRICES = (0.03, 30.0, 20)
# Subgradient steps at a price or for a cut: at most and at least so many; and so many (samples x candidates) in all
# steps together, some seconds of work. Where fewer steps are left than the least, the oracle's bound stands.
_MOST_STEPS, _FEWEST_STEPS, _MOST_WORK = 150, 10, 6e7
# After so many steps without a lower bound the steps are halved, and at so small a share of the first they end.
_PATIENCE, _SMALLEST = 10, 0.02
# Directions turn from the last by up to this (Camerini, Fratta and Maffioli, On Improving Relaxation Methods, 1975).
_TURN = 1.5
# Prices of being late among which the steps for a cut begin.
_LATE_PRICES = 21
# Up to so many candidates every head has a cut of its own; above, those of one placement share one.
_MOST_CUTS = 40


def upper_bound(problem: Problem, answers: Answers, found: Staircase) -> float:
    """What no choice can exceed in expected value.

    Args:
        problem: of the policy `confidence`. Of its limits, that on the number of exits is used.
        found: good operating points of any choice; they say how low the bound may go, which sets the length of steps.
    """
    oracle = oracle_bound(problem, answers)
    if answers.score == "patience" or not problem.candidates:
        return oracle  # confidence at an exit depends on the choice
    if problem.quantile is not None:
        return min(oracle, _by_cuts(problem, answers, found, problem.quantile))
    return min(oracle, _by_prices(problem, answers, found))


def _by_prices(problem: Problem, answers: Answers, found: Staircase) -> float:
    """Where budgets limit the mean latency."""
    steps = min(_MOST_STEPS, int(_MOST_WORK / answers.right.size / _PRICES[2]))
    if steps < _FEWEST_STEPS:
        return np.inf
    whole = _Relaxed(problem, answers)
    worth = answers.right.astype(np.float64)
    times = np.array([*(c.arrival_ms + c.head_ms for c in problem.candidates), problem.final_ms])
    unit = max(float(worth.max() - worth.min()), 1e-12) / max(float(times.max() - times.min()), 1e-12)
    tried = [0.0, *(unit * np.geomspace(*_PRICES))]
    arrival = np.array([*(c.arrival_ms for c in problem.candidates), problem.final_ms])
    head = np.array([c.head_ms for c in problem.candidates])

    def priced(price: float) -> _Prices:
        return _Prices(worth - price * arrival[:, None], price * head)

    prices, heights = [], []
    last, state = 0.0, whole.start(priced(0.0))
    for price in tried:
        aim = float((found.values - price * found.costs_ms).max())
        height, reached = whole.lowered(priced(price), aim, steps, state)
        prices.append(price)
        heights.append(height)
        # The bound is convex in price and state prices together, so halfway between two it is at most their mean.
        if price > last:
            prices.append((last + price) / 2)
            heights.append(whole.height(priced(prices[-1]), (state + reached) / 2)[0])
        last, state = price, reached
    oracles, theirs = oracle_lines(times, worth)
    slowest = problem.final_ms + sum(float(head[list(rows)].max()) for rows in problem.by_placement.values())
    return bound_of_lines(
        problem,
        np.array([*prices, *oracles]),
        np.array([*heights, *theirs]),
        (float(times.min()), max(slowest, float(times.max()))),
        grain=1 / answers.samples if answers.right.dtype == np.bool_ else 0.0,
    )


@dataclass(frozen=True)
class _Prices:
    """What a sample's way is worth.

    Attributes:
        gains: of leaving at each exit and last at the final one [exits + 1, samples].
        on: what a head costs that a sample meets [exits].
        late: exits at which leaving is late, the final one last [exits + 1]; None where nothing is.
        most_late: how many samples may be late.
    """

    gains: Array
    on: Array
    late: NDArray[np.bool_] | None = None
    most_late: int = 0


class _Relaxed:
    """The two parts of the bound, for some candidates.

    Args:
        rows: candidates that may be chosen, ascending; None takes all.
        limited: placements of which only some may have an exit; None means all.
        most: how many of these may; None takes the problem's limit.
    """

    def __init__(
        self,
        problem: Problem,
        answers: Answers,
        rows: list[int] | None = None,
        *,
        limited: set[int] | None = None,
        most: int | None = None,
    ) -> None:
        rows = list(range(len(problem.candidates))) if rows is None else rows
        places = [problem.candidates[row].placement for row in rows]
        self.exits, self.samples = len(rows), answers.samples
        self.first = np.array([k for k in range(len(rows)) if k == 0 or places[k] != places[k - 1]], dtype=np.int64)
        self.place = np.searchsorted(self.first, np.arange(len(rows)), side="right") - 1
        self.limited = np.array([limited is None or places[k] in limited for k in self.first], dtype=np.bool_)
        self.most = problem.max_exits if most is None else most
        scores = answers.scores[rows]
        self.order = np.argsort(-scores, axis=1, kind="stable")
        ranked = np.take_along_axis(scores, self.order, axis=1)
        # The first so many samples in order can be what leaves, if the next is less sure than the last of them.
        self.cut = np.ones((len(rows), self.samples + 1), dtype=np.bool_)
        self.cut[:, 1:-1] = ranked[:, 1:] != ranked[:, :-1]

    def start(self, prices: _Prices) -> Array:
        """No state prices [pass or leave, exits, samples], and last the price of being late with which that is best."""
        state = np.zeros(2 * self.exits * self.samples + 1)
        if prices.late is not None:
            soon = prices.gains[~prices.late].max(axis=0, initial=-np.inf)
            late = prices.gains[prices.late].max(axis=0, initial=-np.inf)
            tried = np.linspace(0, max(1e-12, float(np.ptp(prices.gains))), _LATE_PRICES)
            heights = [np.maximum(soon, late - price).sum() + price * prices.most_late for price in tried]
            state[-1] = tried[int(np.argmin(heights))] * np.sqrt(self.samples)
        return state

    def lowered(self, prices: _Prices, aim: float, steps: int, state: Array) -> tuple[float, Array]:
        """The lowest bound that some subgradient steps reach, and its state prices.

        Args:
            aim: what is known to be reached; steps are as long as if the bound could fall so low (Polyak's rule).
        """
        best, kept, share, since = np.inf, state, 1.0, 0
        direction = np.zeros_like(state)
        for _ in range(steps):
            height, slope = self.height(prices, state)
            if height < best - 1e-7:
                best, kept, since = height, state, 0
            elif (since := since + 1) > _PATIENCE:
                share, since = share / 2, 0
                if share < _SMALLEST:
                    break
            length = float(direction @ direction)
            if length > 0:
                slope = slope + max(0.0, -_TURN * float(slope @ direction) / length) * direction
            direction = slope
            length = float(direction @ direction)
            if height <= aim + 1e-9 or length == 0:
                break
            state = state - share * (height - aim) * self.samples / length * direction
            state[-1] = max(state[-1], 0.0)
        return best, kept

    def height(self, prices: _Prices, state: Array) -> tuple[float, Array]:
        """The bound at some state prices, mean over the samples, and a subgradient of their sum."""
        exits, samples = self.exits, self.samples
        passes, leaves = state[:-1].reshape(2, exits, samples)
        # The price of being late is in units that make its slope about as long as those of all state prices together.
        unit = 1 / np.sqrt(samples)
        tardy = state[-1] * unit
        chosen, on, total = self._thresholds(passes, leaves)
        slope = np.zeros((2, exits, samples))
        slope[0, on] = ~chosen[on]
        slope[1, on] = chosen[on]
        gains = prices.gains if prices.late is None else prices.gains - tardy * prices.late[:, None]
        left, best = self._ways(gains, prices.on, passes, leaves, slope, on)
        height = (total + best + tardy * prices.most_late) / samples
        late = 0 if prices.late is None else int(np.count_nonzero(prices.late[left]))
        return height, np.append(slope.ravel(), unit * (prices.most_late - late))

    def _thresholds(self, passes: Array, leaves: Array) -> tuple[NDArray[np.bool_], Ints, float]:
        """What leaves at each exit's best threshold [exits, samples], the exits that are on, and their worth."""
        exits, samples = self.exits, self.samples
        chosen = np.zeros((exits, samples), dtype=np.bool_)
        if not exits:
            return chosen, np.zeros(0, dtype=np.int64), 0.0
        sums = np.zeros((exits, samples + 1))
        np.cumsum(np.take_along_axis(leaves - passes, self.order, axis=1), axis=1, out=sums[:, 1:])
        sums[~self.cut] = -np.inf
        ends = sums.argmax(axis=1)
        worth = sums[np.arange(exits), ends] + passes.sum(axis=1)
        best = np.maximum.reduceat(worth, self.first)
        wanted = best > 0
        if self.most is not None:
            ranked = np.flatnonzero(wanted & self.limited)
            ranked = ranked[np.argsort(-best[ranked], kind="stable")]
            wanted[ranked[self.most :]] = False
        on = np.array(
            [k for k in range(exits) if wanted[self.place[k]] and worth[k] == best[self.place[k]]], dtype=np.int64
        )
        on = on[np.unique(self.place[on], return_index=True)[1]]  # one head a placement
        for k in on:
            chosen[k, self.order[k, : ends[k]]] = True
        return chosen, on, float(best[wanted].sum())

    def _ways(
        self, gains: Array, on_cost: Array, passes: Array, leaves: Array, slope: Array, on: Ints
    ) -> tuple[Ints, float]:
        """The exit at which each sample leaves on its best way, and what all ways are worth. Takes them off a slope.

        Of ways that are worth the same a sample takes that on which it agrees with the thresholds.
        """
        samples, places = self.samples, len(self.first)
        met = -on_cost[:, None] - passes
        free = np.maximum(-passes, -leaves)
        before, after = np.zeros((places + 1, samples)), np.zeros((places + 1, samples))
        if places:
            np.cumsum(np.maximum(np.maximum.reduceat(met, self.first), 0.0), axis=0, out=before[1:])
            behind = np.maximum(np.maximum.reduceat(free, self.first), 0.0)
            after[:-2] = np.cumsum(behind[::-1], axis=0)[::-1][1:]
        ways = np.concatenate([gains[:-1] - on_cost[:, None] - leaves, gains[-1:]])
        ways += before[np.append(self.place, places)] + after[np.append(self.place, places)]
        left = ways.argmax(axis=0)
        best = float(ways[left, np.arange(samples)].sum())
        where = np.append(self.place, places)[left]
        here = np.flatnonzero(left < self.exits)
        slope[1, left[here], here] -= 1
        chosen_head = np.full(places, -1)
        chosen_head[self.place[on]] = on
        ends = np.append(self.first[1:], self.exits)
        for place in range(places):
            rows = slice(self.first[place], ends[place])
            self._take(slope, rows, np.flatnonzero(where > place), met, None, int(chosen_head[place]))
            self._take(slope, rows, np.flatnonzero(where < place), -passes, -leaves, int(chosen_head[place]))
        return left, best

    @staticmethod
    def _take(slope: Array, rows: slice, samples: Ints, passing: Array, leaving: Array | None, chosen: int) -> None:
        """Of samples that pass a placement, or are free there, the state that each is in, taken off the slope."""
        if not len(samples):
            return
        first, count = rows.start, rows.stop - rows.start
        parts = [passing[rows, samples]] if leaving is None else [passing[rows, samples], leaving[rows, samples]]
        options = np.concatenate([np.zeros((1, len(samples))), *parts])
        if chosen >= 0:
            wanted = slope[1, chosen, samples] > 0
            at = 1 + chosen - first
            options[at] += np.where(wanted, 0.0, 1e-9)
            if leaving is not None:
                options[at + count] += np.where(wanted, 1e-9, 0.0)
        best = options.argmax(axis=0)
        taken = np.flatnonzero(best)
        state, row = np.divmod(best[taken] - 1, count)
        slope[state, first + row, samples[taken]] -= 1


def _by_cuts(problem: Problem, answers: Answers, found: Staircase, quantile: float) -> float:
    """Where budgets limit a quantile of the latency: the bounds of all cuts, by when they can be reached."""
    late = int((1 - quantile + 1e-9) * answers.samples)
    cuts = sorted(_cuts(problem), key=lambda cut: cut.reached_ms)
    steps = min(_MOST_STEPS, int(_MOST_WORK / answers.right.size / len(cuts)))
    if steps < _FEWEST_STEPS:
        return np.inf
    worth = answers.right.astype(np.float64)
    grain = 1 / answers.samples if answers.right.dtype == np.bool_ else 0.0
    best, bound = problem.fallback, problem.fallback
    for cut in cuts:
        part = _Relaxed(problem, answers, cut.rows, limited=cut.before, most=cut.most)
        tardy = np.array([*(problem.candidates[row].placement > cut.placement for row in cut.rows), cut.final_late])
        prices = _Prices(worth[[*cut.rows, -1]], np.zeros(len(cut.rows)), tardy, late)
        there = found.at(cut.reached_ms + 1e-9)
        aim = best if there is None else max(best, float(found.values[there]))
        height, _ = part.lowered(prices, aim, steps, part.start(prices))
        if grain:
            height = np.floor(height / grain + 1e-6) * grain
        if height > best:
            bound += (height - best) * float(problem.survival(cut.reached_ms))
            best = height
    return bound


@dataclass(frozen=True)
class _Cut:
    """A cut with so many heads before it.

    Attributes:
        placement: of the cut; one beyond the last for the final exit.
        rows: candidates that may be chosen.
        before: placements before the cut.
        most: how many of these may have an exit; None means any number.
        reached_ms: the earliest that the cut can be reached.
        final_late: whether the final exit is behind it.
    """

    placement: int
    rows: list[int]
    before: set[int]
    most: int | None
    reached_ms: float
    final_late: bool


def _cuts(problem: Problem) -> Iterator[_Cut]:
    """Every cut, with no head before it, one, two, and any number that is larger."""
    places = list(problem.by_placement)
    groups = [[row] for row in range(len(problem.candidates))]
    if len(groups) > _MOST_CUTS:
        groups = [list(rows) for rows in problem.by_placement.values()]
    for group in [*groups, []]:
        placement = problem.candidates[group[0]].placement if group else places[-1] + 1
        alone_ms = problem.final_ms
        if group:
            alone_ms = min(problem.candidates[row].arrival_ms + problem.candidates[row].head_ms for row in group)
        heads = [
            min(problem.candidates[row].head_ms for row in problem.by_placement[place])
            for place in places
            if place < placement
        ]
        waits = np.append(0.0, np.cumsum(np.sort(heads)))
        for most in range(min(len(heads), 3) + 1):
            before = {place for place in places if place < placement and most}
            rows = [
                row
                for row, candidate in enumerate(problem.candidates)
                if candidate.placement in before or candidate.placement > placement or row in group
            ]
            limit = most if most < 3 else len(heads)
            # Sums of heads in another order may round to a little more.
            yield _Cut(placement, rows, before, limit, (alone_ms + float(waits[most])) * (1 - 1e-12), bool(group))
