"""Exact solver for contract budgets: the budget is known beforehand and only one head is run, so no exit waits.

With the candidates in order of finish time the best choice is a staircase of rising values (`staircase.py`), which one
sweep would find if a placement could carry several heads. That it carries at most one ties the steps together. So each
placement gets a price (`prices.py`): the best staircase at these prices is never below the optimum. A second sweep
carries labels (best value so far, expected value so far, placements used) and drops what another label makes
superfluous (`labels.py`, without delays) and what the priced staircase leaves below a choice already known. A placement
is remembered only while candidates of it are still to come.

A label that leaves a forced placement open stands in for one that has used it: what its filler takes is paid already.
"""

from __future__ import annotations

import numpy as np

from exitsearch.search.problem import Choice, Problem
from exitsearch.search.solver.labels import Array, Bools, History, Labels, undominated
from exitsearch.search.solver.limits import met_bits
from exitsearch.search.solver.prices import PricedStaircase, Prices, find_prices
from exitsearch.search.solver.staircase import FINAL, Staircase
from exitsearch.search.value import contract_value


class ContractSolver:
    """One problem, prepared for sweeps with any limit on the number of exits.

    Args:
        problem: of the policy `contract`, by which its limits and its minimum values are read.
        tolerance: difference of values that counts as none.
        most_labels: most labels carried at once; beyond it the least promising are let go and the result is no longer
            proved, only bounded.
    """

    def __init__(self, problem: Problem, *, tolerance: float, most_labels: int) -> None:
        self.problem = problem
        self.tolerance = tolerance
        self.most_labels = most_labels
        self.is_hard = False  # limits seldom make labels many, since no exit waits
        self.stairs = Staircase(problem, tolerance=tolerance)
        self.spare = self.stairs.spare()
        # Prices without a limit on the number of exits, the items of the best staircase that they led to, and how many
        # exits the best choice has, where it is known.
        self._free: tuple[Prices, list[int]] | None = None
        self._free_exits: int | None = None

    def solve(self, limits: int | None, *, frugal: bool = False) -> tuple[list[Choice | None], float]:
        """The best choice with at most 0, 1, ..., `limits` exits, or with any number of them.

        Args:
            limits: largest limit on the number of exits; None lifts the limit, and only one choice is returned.
            frugal: of too many labels keep those that take least of what is limited, not the most promising.

        Returns:
            A choice for each limit (None where none that keeps to all limits was found), and an upper bound of what was
            let go (minus infinity: nothing, so they are exact, and None means that there is none).
        """
        stairs, problem = self.stairs, self.problem
        if stairs.fillers is None:
            return [None] * (1 if limits is None else limits + 1), -np.inf
        labels, history, let_go = self._start(), History(), -np.inf
        table, known = self._bounds(labels, limits)
        values = [-np.inf if choice is None else contract_value(problem, choice) for choice in known]
        least = np.array(values) - 10 * self.tolerance
        for bit in range(stairs.bits):
            if not stairs.open[0, bit]:
                labels = Labels.join([labels, *self._exchanged(labels, bit, history)])
        labels = labels.take(self._fit(labels, 0, limits))
        for index, item in enumerate(stairs.items):
            if item.position == FINAL:
                # Always there and free of charge: every label takes it.
                gains = (stairs.values[item.level] - stairs.values[labels.level]) * item.reached
                labels.value = labels.value + np.where(labels.level < item.level, gains, 0.0)
                labels.level = np.maximum(labels.level, item.level)
                labels.met = labels.met | item.met
                continue
            parts = [part.take(self._fit(part, index + 1, limits)) for part in self._after(labels, index, history)]
            labels = Labels.join([part.take(table.promising(part, index + 1, least)) for part in parts])
            ceiling = stairs.items[index + 1].reached if index + 1 < len(stairs.items) else 0.0
            labels = undominated(
                labels,
                stairs.values[labels.level],
                np.full(len(labels), ceiling),
                counted=limits is not None,
                tolerance=self.tolerance,
            )
            if len(labels) > self.most_labels:
                bounds = table.upper_bound(labels, index + 1)
                order = np.lexsort((-bounds, self._tightness(labels, index + 1) * frugal))
                let_go = max(let_go, float(bounds[order[self.most_labels :]].max()))
                labels = labels.take(np.sort(order[: self.most_labels]))
        choices = self._ends(labels, history, known, least, limits)
        if limits is None and choices[0] is not None:
            self._free_exits = len(choices[0])
        return choices, let_go

    def _start(self) -> Labels:
        """The one label from which a sweep starts: the fillers of the forced placements."""
        assert self.stairs.fillers is not None
        labels = Labels.start(
            self.problem.fallback, resources=len(self.stairs.quotas), words=-(-self.stairs.bits // 64)
        )
        fillers = tuple(self.stairs.fillers.values())
        labels.count = labels.count + len(fillers)
        labels.params = labels.params + self.problem.params(fillers)
        labels.takes = labels.takes + self.stairs.quotas.takes[list(fillers)].sum(axis=0)
        labels.met = labels.met | met_bits(self.problem, self.problem.fallback, 0.0)
        return labels

    def _bounds(self, start: Labels, limits: int | None) -> tuple[PricedStaircase, list[Choice | None]]:
        """What can still be gained, and for each limit a good choice within it, of those that keep to all limits."""
        stairs, forced = self.stairs, int(start.count[0])
        if self._free is None:
            self._free = find_prices(stairs, start, None, tolerance=self.tolerance)
        prices, seen = self._free
        if limits is not None and (self._free_exits is None or limits < self._free_exits):
            prices, seen = find_prices(stairs, start, max(0, limits - forced), tolerance=self.tolerance)
        table = PricedStaircase(stairs, prices, limits)
        paths = [table.known(path) for path in table.paths()]
        known: list[Choice | None] = []
        best, best_value = None, -np.inf
        for limit in range(table.layers):
            most = None if limits is None else limit
            options = [paths[0 if most is None else max(0, most - forced)]]
            if limit == table.layers - 1:
                options.append(seen)
            for items in options:
                choice = stairs.feasible(items, most)
                if choice is not None and contract_value(self.problem, choice) > best_value:
                    best, best_value = choice, contract_value(self.problem, choice)
            known.append(best)
        return table, known

    def _after(self, labels: Labels, index: int, history: History) -> list[Labels]:
        """The labels behind an item: those that take it, those that do not, and those that exchange a filler."""
        stairs, item = self.stairs, self.stairs.items[index]
        rows: Bools = labels.level < item.level
        word, mask = (0, np.uint64(0)) if item.bit is None else (item.bit // 64, np.uint64(1 << (item.bit % 64)))
        if item.bit is not None:
            rows &= (labels.used[:, word] & mask) == 0
        gains = (stairs.values[item.level] - stairs.values[labels.level]) * item.reached
        more = labels.take(rows).extended(
            level=item.level,
            gain=gains[rows],
            delay=0.0,
            exits=item.exits,
            params=item.params,
            takes=np.array(item.takes),
            met=item.met,
        )
        history.record(more, item.position)
        if item.bit is None:
            return [labels, more]
        if stairs.open[index + 1, item.bit]:
            more.used[:, word] |= mask
            return [labels, more]
        parts = [labels, more, *self._exchanged(labels, item.bit, history)]
        for part in parts:
            part.used[:, word] &= ~mask
        return parts

    def _exchanged(self, labels: Labels, bit: int, history: History) -> list[Labels]:
        """The labels that leave a forced placement open, with each other head that its filler may be."""
        parts = []
        there = (labels.used[:, bit // 64] >> np.uint64(bit % 64)) & np.uint64(1) == 1
        for filler in self.stairs.others[bit]:
            part = labels.take(~there)
            part = part.extended(
                level=0,
                gain=np.zeros(len(part)),
                delay=0.0,
                exits=0,
                params=filler.params,
                takes=np.array(filler.takes),
            )
            history.record(part, filler.position)
            parts.append(part)
        return parts

    def _left(self, labels: Labels, index: int, column: int) -> Array:
        """The least that a label standing before an item will have taken of a limited resource [labels]."""
        spare = np.where(self.stairs.open[index], self.spare[column], 0.0)
        least: Array = labels.takes[:, column] - (spare.sum() - self.stairs.used(labels.used) @ spare)
        return least

    def _fit(self, labels: Labels, index: int, limits: int | None) -> Bools:
        """Whether each label can still keep to the limits on resources, whatever it chooses next."""
        rows = np.ones(len(labels), dtype=np.bool_) if limits is None else labels.count <= limits
        for column, most in enumerate(self.stairs.quotas.most.tolist()):
            rows &= self._left(labels, index, column) <= most
        return rows

    def _tightness(self, labels: Labels, index: int) -> Array:
        """The largest share of a limit that each label needs at least [labels]."""
        most = self.stairs.quotas.most.tolist()
        shares = [self._left(labels, index, column) / max(1.0, limit) for column, limit in enumerate(most)]
        result: Array = np.max([np.zeros(len(labels)), *shares], axis=0)
        return result

    def _ends(
        self, labels: Labels, history: History, known: list[Choice | None], values: Array, limits: int | None
    ) -> list[Choice | None]:
        """The best choice for each limit that the labels at the end of a sweep stand for."""
        choices: list[Choice | None] = []
        for limit, other in enumerate(known):
            ends = np.flatnonzero((labels.count <= limit) | (limits is None))
            ends = ends[labels.met[ends] == (1 << len(self.problem.min_values)) - 1]
            ends = ends[labels.value[ends] >= values[limit]]
            if not len(ends):  # everything was let go but the choice known beforehand
                choices.append(other)
                continue
            ends = ends[labels.value[ends] >= labels.value[ends].max() - 10 * self.tolerance]
            best = ends[np.lexsort((labels.params[ends], labels.count[ends]))[0]]
            choices.append(self.stairs.filled(history.choice(int(labels.node[best]))))
        return choices
