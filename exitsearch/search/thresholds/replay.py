"""The confidence policy: an input leaves at the first exit that is sure enough. Thresholds, replayed.

With thresholds q the samples of a split are replayed: which exit each leaves at, so the accuracy (or the mean of what
answers are worth) and the mean latency. A budget limits the mean latency, or a quantile of it over the samples
(`quantile.py`); the accuracy at a budget is that of the best thresholds whose latency is within it. Over all budgets
that is a staircase of operating points (c_j, A_j), rising in both, and its expected value has the form of the other
policies': V = a_0 + sum_j (A_j - A_(j-1)) G(c_j).

A head at which nothing shall leave need not be run, since the budget is known beforehand; this is the threshold `off`.
Under patience every head is run, because each answer counts for those after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exitsearch.search.problem import Array, Choice, Problem
from exitsearch.search.thresholds.scores import Answers, Floats
from exitsearch.specs.budget import latest_in_time

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Staircase:
    """Operating points by rising cost and accuracy; none is both dearer and no better than another.

    Attributes:
        costs_ms: mean latency, or the problem's quantile of it [points].
        values: accuracy [points].
        thresholds: on the scores; infinity stands for `off` [points, exits].
    """

    costs_ms: Array
    values: Array
    thresholds: Array

    def value(self, problem: Problem, *, noise: bool = True) -> float:
        """Expected value under the problem's budgets."""
        chances, nothing = self.chances(problem, noise=noise)
        return float(chances @ self.values + nothing * problem.fallback)

    def chances(self, problem: Problem, *, noise: bool = True) -> tuple[Array, float]:
        """How likely each point is the one to be used, and the chance that there is none within the budget."""
        reached = problem.survival(self.costs_ms, noise=noise)
        # A point worth no more than no answer would never be used: the next one's budget starts lower down.
        used = np.flatnonzero(self.values > problem.fallback)
        chances = np.zeros(len(reached))
        if not len(used):
            return chances, 1.0
        chances[used] = reached[used] - np.append(reached[used][1:], 0.0)
        return chances, float(1.0 - reached[used[0]])

    def at(self, budget_ms: float) -> int | None:
        """The point to be used within a budget, or None."""
        position = int(np.searchsorted(self.costs_ms, latest_in_time(budget_ms), side="right")) - 1
        return position if position >= 0 else None

    def thinned(self, problem: Problem, most: int) -> Staircase:
        """At most so many points, those that keep the expected value highest; exact by dynamic programming."""
        useful = np.flatnonzero(self.values > problem.fallback)
        if len(useful) <= most:
            return self._taken(useful)
        reached = problem.survival(self.costs_ms[useful])
        values = np.concatenate([[problem.fallback], self.values[useful]])
        # gains[i, j]: what point j adds after point i - 1 (row 0: after no answer).
        gains = (values[None, 1:] - values[:, None]) * reached
        gains[np.arange(len(values))[:, None] > np.arange(len(reached))] = -np.inf
        best, parents = gains[0], []
        for _ in range(most - 1):
            options = best[:, None] + gains[1:]
            parent = options.argmax(axis=0)
            more = options[parent, np.arange(len(reached))]
            parents.append(np.where(more > best, parent, -1))
            best = np.maximum(best, more)
        kept = [int(best.argmax())]
        for parent in reversed(parents):
            if parent[kept[-1]] < 0:
                continue
            kept.append(int(parent[kept[-1]]))
        return self._taken(useful[sorted(kept)])

    def _taken(self, rows: Ints) -> Staircase:
        return Staircase(self.costs_ms[rows], self.values[rows], self.thresholds[rows])


class Replay:
    """One choice's samples, ready to be replayed under any thresholds.

    Args:
        problem: for the times.
        answers: of the samples.
        choice: the exits.
    """

    def __init__(self, problem: Problem, answers: Answers, choice: Choice) -> None:
        chosen = problem.chosen(choice)
        self.exits = len(choice)
        self.quantile = problem.quantile
        self.skippable = answers.score != "patience"
        self.scores: Floats = np.ascontiguousarray(answers.chosen_scores(choice))
        self.right = np.concatenate([answers.right[list(choice)], answers.right[-1:]])
        self.arrival = np.array([*(c.arrival_ms for c in chosen), problem.final_ms])
        self.head = np.array([*(c.head_ms for c in chosen), 0.0])

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.right.shape[1])

    def times(self, thresholds: Array) -> Array:
        """When each exit answers, and last the final one, under thresholds [exits + 1]."""
        on = np.append(np.isfinite(thresholds) | (not self.skippable), True)
        return np.asarray(self.arrival + np.cumsum(self.head * on))

    def rates(self, thresholds: Array) -> tuple[Array, float]:
        """Share of samples leaving at each exit and last at the final one [exits + 1], and the accuracy."""
        staying = np.ones(self.samples, dtype=np.bool_)
        left = np.zeros(self.exits + 1)
        right = 0.0
        for k, threshold in enumerate(thresholds.tolist()):
            if threshold == np.inf:
                continue
            here = self.scores[k] >= np.float32(threshold)
            here &= staying
            left[k] = np.count_nonzero(here)
            right += self.won(k, here)
            staying ^= here
        left[-1] = np.count_nonzero(staying)
        right += self.won(-1, staying)
        return left / self.samples, right / self.samples

    def won(self, k: int, here: NDArray[np.bool_]) -> float:
        """How many of some samples an exit answers rightly, or what its answers are worth together."""
        right = self.right[k]
        return float(np.count_nonzero(here & right) if right.dtype == np.bool_ else right[here].sum())

    def leaves(self, thresholds: Array) -> Ints:
        """The exit at which each sample leaves; the final one is the last [samples]."""
        left = np.full(self.samples, self.exits)
        for k in reversed(range(self.exits)):
            left[self.scores[k] >= np.float32(thresholds[k])] = k
        return left

    def point(self, thresholds: Array) -> tuple[float, float]:
        """Mean latency in ms (or the problem's quantile of it), and accuracy, under thresholds [exits]."""
        rates, value = self.rates(thresholds)
        times = self.times(thresholds)
        if self.quantile is None:
            return float(rates @ times), value
        # Exits answer one after the other: the first by which so many samples have left. Rates are counts over samples.
        first = int(np.argmax(np.cumsum(rates) >= self.quantile - 1e-9))
        return float(times[first]), value

    def part(self, exits: Sequence[int], costs: Array) -> Replay:
        """Some of the exits and the final one, with costs in place of times and heads that cost nothing.

        Args:
            exits: numbers of the exits, ascending.
            costs: of every exit and last of the final one [exits + 1].
        """
        part = copy(self)
        part.exits, part.quantile = len(exits), None
        part.scores = self.scores[list(exits)]
        part.right = np.concatenate([self.right[list(exits)], self.right[-1:]])
        part.arrival = costs[[*exits, self.exits]]
        part.head = np.zeros(len(exits) + 1)
        return part

    def tidied(self, staircase: Staircase) -> Staircase:
        """The same with every exit off at which nothing leaves, which is never dearer."""
        rates = np.array([self.rates(thresholds)[0][:-1] for thresholds in staircase.thresholds])
        return self.staircase(np.where(rates.reshape(staircase.thresholds.shape) > 0, staircase.thresholds, np.inf))

    def staircase(self, configurations: Array) -> Staircase:
        """The operating points among some configurations of thresholds [configurations, exits]."""
        points = np.array([self.point(thresholds) for thresholds in configurations])
        rows = efficient(points[:, 0], points[:, 1])
        return Staircase(points[rows, 0], points[rows, 1], configurations[rows])


def efficient(costs_ms: Array, values: Array) -> Ints:
    """Rows of a staircase, by rising cost: each better than all that cost no more."""
    order = np.lexsort((-values, costs_ms))
    ahead = np.maximum.accumulate(np.concatenate([[-np.inf], values[order][:-1]]))
    return np.asarray(order[values[order] > ahead])
