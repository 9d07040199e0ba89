"""Optimistic estimates for the exact solver of interruptible budgets: what a label can still gain, never too little.

A table computed backwards over a grid of delays and of best values so far. Delays are rounded down; since survival
falls with time, that never underestimates. Between two values of the grid the table is read along the chord: what
exits F add to a best value A is the integral over x > A of their chance g(x) of an answer worth at least x in time, so
it is convex in A, and so is the most that any F adds; a chord of a convex function lies nowhere below it.

A limit on a resource may have a price, a Lagrangian multiplier: each exit pays for what it takes, and what is left of
the limit is paid back. At any prices that is an estimate too; at good ones it knows that the limit binds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exitsearch.search.problem import Problem
from exitsearch.search.solver.labels import Array, Bools, Ints, Labels

# Cells of the table of estimates, 4 bytes each. More cells make a finer grid of delays and so fewer labels; with 12 to
# 48 placements twice as many cost more time than they save. With more placements and layers the grid is kept fine
# enough all the same, for labels grow many on a coarse one.
CELLS = 10_000_000
# Values in the grid: few where layers are many, for there the delays need the cells more.
_FEWEST_KNOTS = 32
_MOST_KNOTS = 128
_FINEST_GRID = 1024
_COARSEST_GRID = 320
# Added to every estimate for the rounding of float32, in units of the largest absolute value.
_FLOAT32 = 1e-5
# Subtracted from times at which an estimate is made, in units of the final exit's time, so that rounding in a sum of
# latencies never moves an estimate to the wrong side of a step of the survival.
SLACK = 1e-9


@dataclass(frozen=True)
class Step:
    """The candidates of one placement that are worth more than no answer, or all where one must stand.

    Attributes:
        forced: whether one of them must stand.
        positions: of the candidates in the problem.
        levels: position of each one's value in the table of values.
        params: parameters of each.
        takes: what each takes of each limited resource [candidates, resources].
    """

    arrival_ms: float
    positions: tuple[int, ...]
    levels: tuple[int, ...]
    head_ms: tuple[float, ...]
    params: tuple[int, ...]
    takes: Array
    forced: bool


class Estimates:
    """What can still be gained after each step, never too little: [steps + 1][layers, knots, delays].

    Layer r stands for at most r more exits; with `exits` None there is one layer without a limit.

    Args:
        steps: of the sweep, in order.
        values: every value that an answer may have, ascending; the lowest is that of having none.
        exits: most exits of any layer; None lifts the limit.
        most: what all heads may take of each limited resource [resources].
        prices: of one unit of each of them [resources]; None: they cost nothing.
        cells: size of the table.

    Attributes:
        layers: the layer to which one more exit leads from each layer.
        payments: what each candidate of each step pays.
        knots: positions in the table of values of those in the grid, the lowest and the highest among them.
    """

    def __init__(
        self,
        problem: Problem,
        steps: Sequence[Step],
        values: Array,
        exits: int | None,
        *,
        most: Array,
        prices: Array | None = None,
        cells: int = CELLS,
    ) -> None:
        self._prices = [] if prices is None else prices.tolist()
        self._most = most
        self.free = exits is None
        self.layers = [0] if exits is None else [max(0, limit - 1) for limit in range(exits + 1)]
        slack_ms = SLACK * problem.final_ms
        rows = (len(steps) + 1) * len(self.layers)
        knots = min(len(values), int(np.clip(cells // (rows * _FINEST_GRID), _FEWEST_KNOTS, _MOST_KNOTS)))
        self.knots = np.unique(np.linspace(0, len(values) - 1, knots).round().astype(np.int64))
        # Every value lies between two knots, as their mean with these weights.
        self._below = np.clip(np.searchsorted(self.knots, np.arange(len(values)), side="right") - 1, 0, None)
        self._above = np.minimum(self._below + 1, len(self.knots) - 1)
        low, high = values[self.knots[self._below]], values[self.knots[self._above]]
        self._share = np.where(high > low, (values - low) / np.where(high > low, high - low, 1.0), 0.0)
        count = int(np.clip(cells // (rows * len(self.knots)), _COARSEST_GRID, _FINEST_GRID))
        self.payments = [self._payments(step) for step in steps]
        # No delay is longer than all heads together, and none matters beyond the longest budget.
        fastest = min(problem.slowdown, default=1.0)
        longest = sum(max(step.head_ms) for step in steps)
        if fastest > 0:
            longest = min(longest, problem.budget.quantile(0.999) / fastest)
        self.spacing_ms = max(longest, 1e-9) / (count - 1)
        delays = np.arange(count) * self.spacing_ms
        scale = float(np.abs([*values, problem.final_value]).max())
        self.extra = _FLOAT32 * scale
        grid = values[self.knots]
        rise = np.maximum(problem.final_value - grid, 0.0)
        last = rise[:, None] * problem.survival_above(problem.final_ms + delays - slack_ms)
        self.gains: list[NDArray[np.float32]] = [np.repeat(last[None], len(self.layers), 0).astype(np.float32)]
        for step, payments in zip(reversed(steps), reversed(self.payments), strict=True):
            after = self.gains[-1]
            now = after.copy()
            for level, head_ms, payment in zip(step.levels, step.head_ms, payments, strict=True):
                reached = problem.survival_above(step.arrival_ms + delays + head_ms - slack_ms).astype(np.float32)
                moved = np.minimum(np.arange(count) + int(head_ms / self.spacing_ms), count - 1)
                lower = int(np.searchsorted(self.knots, level))  # knots below this value
                gain = (values[level] - grid[:lower]).astype(np.float32)[:, None] * reached - np.float32(payment)
                share = np.float32(self._share[level])
                here = after[:, self._below[level]] * (1 - share) + after[:, self._above[level]] * share
                if self.free:
                    np.maximum(now[0, :lower], gain + here[0, moved], out=now[0, :lower])
                else:
                    # One more exit leads from each layer but the lowest to the one below it.
                    np.maximum(now[1:, :lower], gain + here[:-1, None, moved], out=now[1:, :lower])
            self.gains.append(now)
        self.gains.reverse()

    def _payments(self, step: Step) -> list[float]:
        return [
            float(sum(price * amount for price, amount in zip(self._prices, amounts, strict=False)))
            for amounts in step.takes.tolist()
        ]

    def unspent(self, labels: Labels) -> Array:
        """The price of what is left of the limits [labels]."""
        left = np.zeros(len(labels))
        for column, price in enumerate(self._prices):
            left += price * (self._most[column] - labels.takes[:, column])
        return left

    def gain(self, labels: Labels, index: int, layers: Ints) -> Array:
        """Estimated future gain of labels that stand before step `index`, in some layers."""
        below, above, share, cell = self._places(labels, index)
        table = self.gains[index]
        result: Array = table[layers, below, cell] * (1 - share) + table[layers, above, cell] * share + self.extra
        return result

    def _places(self, labels: Labels, index: int) -> tuple[Ints, Ints, Array, Ints]:
        """Where each label stands in a table: the knots around its best value, the share of the upper, the delay."""
        cell = np.minimum((labels.delay / self.spacing_ms).astype(np.int64), self.gains[index].shape[2] - 1)
        return self._below[labels.level], self._above[labels.level], self._share[labels.level], cell

    def upper_bound(self, labels: Labels, index: int) -> Array:
        """The most that each label can come to with any number of exits allowed."""
        top = len(self.layers) - 1
        layers = np.zeros(len(labels), dtype=np.int64) if self.free else top - labels.count
        return labels.value + self.unspent(labels) + self.gain(labels, index, layers)

    def promising(self, labels: Labels, index: int, known: Array) -> Bools:
        """Whether each label may still reach what is known already, for one of the limits at least.

        Args:
            known: value of a choice for each most number of exits [layers].
        """
        if self.free:
            return np.asarray(self.upper_bound(labels, index) >= known[0])
        below, above, share, cell = self._places(labels, index)
        table = self.gains[index]
        gains = table[:, below, cell] * (1 - share) + table[:, above, cell] * share  # [layers, labels]
        # Under a limit on the number of exits a label stands in the layer of those that are left; none has more.
        beyond = np.append(known, np.full(len(self.layers), np.inf))
        needed = beyond[labels.count + np.arange(len(self.layers))[:, None]]
        reached = labels.value + self.unspent(labels) + self.extra
        return np.asarray((reached + gains >= needed).any(axis=0))
