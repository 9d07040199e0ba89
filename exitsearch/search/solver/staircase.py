"""A problem of the policy `contract` as a staircase: items in order of finish time, of which the best value rises.

A placement that must carry an exit has one from the start, its *filler*: the head that takes least. An item of that
placement replaces the filler and takes only what it takes more, which may be less than nothing; where several heads
take least of one thing or another, a choice may also exchange the filler once no item of the placement is to come. So
a partial choice never owes anything, and what all forced exits take at least is known from the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from exitsearch.search.problem import Choice, Problem
from exitsearch.search.solver.labels import Array, Bools
from exitsearch.search.solver.limits import Quotas, affordable, met_bits, within_limits
from exitsearch.search.value import contract_value

FINAL = -1


@dataclass(frozen=True)
class Item:
    """A candidate, or the final exit, in order of finish time.

    Attributes:
        position: of the candidate in the problem; -1 for the final exit, which is always there.
        level: position of its value in the table of values.
        reached: survival of its finish time.
        exits: 1, or 0 where it replaces a filler and at the final exit.
        params: parameters of its head, less those of the filler that it replaces.
        takes: what its head takes of each limited resource, less what the filler does.
        met: one bit for each minimum value that it keeps to.
        bit: number of its placement among those that have several items or fillers; None at the others.
    """

    position: int
    level: int
    reached: float
    exits: int
    params: int
    takes: tuple[float, ...]
    met: int
    bit: int | None


@dataclass(frozen=True)
class Filler:
    """A head that can stand at a forced placement instead of the filler; amounts are what it takes more."""

    position: int
    params: int
    takes: tuple[float, ...]
    exits: int = 0


class Staircase:
    """Items, placements and fillers of a problem.

    Attributes:
        values: every value that an answer may have, ascending; the lowest is that of having none.
        items: in order of finish time, of equal times the lowest value first.
        quotas: the limited resources.
        fillers: position of the filler of each forced placement; None where a placement has no head that may stand.
        others: by bit the heads that may take a filler's place.
        bits: placements that a label remembers.
        open: whether an item of each placement comes at item i or later [items + 1, bits].
    """

    def __init__(self, problem: Problem, *, tolerance: float) -> None:
        self.problem = problem
        values = [problem.final_value, *(candidate.value for candidate in problem.candidates)]
        self.values: Array = np.unique([problem.fallback, *(value for value in values if value > problem.fallback)])
        self.affordable = {
            placement: tuple(position for position in positions if affordable(problem, position))
            for placement, positions in problem.by_placement.items()
        }
        self.quotas = Quotas.of(problem)
        # What counts when one head stands in for another [candidates][parameters, limited resources].
        self._counts = [
            [candidate.params, *takes]
            for candidate, takes in zip(problem.candidates, self.quotas.takes.tolist(), strict=True)
        ]
        least = {place: self._least(self.affordable[place]) for place in problem.forced}
        self.fillers: dict[int, int] | None = None
        if all(least.values()):
            self.fillers = {place: positions[0] for place, positions in least.items()}
        self.others: dict[int, list[Filler]] = {}
        self.items, last = self._items(least, tolerance)
        self.bits = len(last)
        self.open: Bools = np.array(
            [[end >= index for end in last] for index in range(len(self.items) + 1)], dtype=np.bool_
        ).reshape(len(self.items) + 1, self.bits)

    def _least(self, positions: Sequence[int]) -> list[int]:
        """Those of some heads of which no other takes less of everything that counts, least parameters first."""
        found: list[int] = []
        for mine in sorted(positions, key=lambda p: (self._counts[p], p)):
            if not any(self._takes_no_more(other, mine) for other in found):
                found.append(mine)
        return found

    def _takes_no_more(self, one: int, other: int) -> bool:
        """Whether one candidate takes no more of anything that counts than another."""
        return all(a <= b for a, b in zip(self._counts[one], self._counts[other], strict=True))

    def _items(self, least: dict[int, list[int]], tolerance: float) -> tuple[list[Item], list[int]]:
        """The items, and for each bit the index of its last item, -1 where it has none."""
        problem = self.problem
        finish = np.array([c.arrival_ms + c.head_ms for c in problem.candidates])
        reached = problem.survival(finish)
        entries: list[tuple[float, Item]] = []
        bits = 0
        for placement, here in self._useful(finish, reached, tolerance).items():
            free = least.get(placement, [])
            bit = bits if len(here) > 1 or len(free) > 1 else None
            if bit is not None:
                bits += 1
                self.others[bit] = [self._filler(p, free[0]) for p in free[1:]]
            for p in here:
                candidate = problem.candidates[p]
                more = self._filler(p, free[0] if free else None)
                level = int(np.searchsorted(self.values, candidate.value))
                met = met_bits(problem, candidate.value, float(finish[p]))
                exits = int(placement not in problem.forced)
                item = Item(p, level, float(reached[p]), exits, more.params, more.takes, met, bit)
                entries.append((float(finish[p]), item))
        if problem.final_value > problem.fallback:
            nothing = (0.0,) * len(self.quotas)
            level = int(np.searchsorted(self.values, problem.final_value))
            survival = float(problem.survival(problem.final_ms))
            met = met_bits(problem, problem.final_value, problem.final_ms)
            entries.append((problem.final_ms, Item(FINAL, level, survival, 0, 0, nothing, met, None)))
        items = [item for _, item in sorted(entries, key=lambda entry: (entry[0], entry[1].level))]
        last = [-1] * bits
        for index, item in enumerate(items):
            if item.bit is not None:
                last[item.bit] = index
        return items, last

    def _filler(self, position: int, instead_of: int | None) -> Filler:
        mine = self._counts[position]
        theirs = [0.0] * len(mine) if instead_of is None else self._counts[instead_of]
        params, *takes = (a - b for a, b in zip(mine, theirs, strict=True))
        return Filler(position, int(params), tuple(takes))

    def _useful(self, finish: Array, reached: Array, tolerance: float) -> dict[int, list[int]]:
        """The heads of each placement that can be worth something, without those whose part another can always take."""
        problem = self.problem
        smallest = float(np.diff(self.values).min(initial=np.inf))

        def stands_in(other: int, mine: int) -> bool:
            """Whether another head of the same placement can always take this one's part, also where values tie."""
            a, b = problem.candidates[mine], problem.candidates[other]
            if finish[other] > finish[mine] or b.value < a.value:
                return False
            if self._takes_no_more(other, mine):
                return True
            # More parameters count for something only where values tie, or where parameters are limited.
            earlier = bool((reached[other] - reached[mine]) * smallest > 10 * tolerance)
            return earlier and not len(self.quotas)

        def superfluous(mine: int, other: int) -> bool:
            # Two that can take each other's part differ in nothing that counts. One of them must stay: the first.
            return stands_in(other, mine) and (other < mine or not stands_in(mine, other))

        found = {}
        for placement, positions in self.affordable.items():
            worth = [p for p in positions if problem.candidates[p].value > problem.fallback]
            useful = [p for p in worth if reached[p] > 0 or problem.min_values]
            found[placement] = [p for p in useful if not any(superfluous(p, q) for q in useful if q != p)]
        return found

    def spare(self) -> Array:
        """How much less a choice can still take by exchanging the filler of a placement [resources, bits]."""
        found = np.zeros((len(self.quotas), self.bits))
        for bit, fillers in self.others.items():
            for column in range(len(self.quotas)):
                found[column, bit] = -min([0.0, *(filler.takes[column] for filler in fillers)])
        return found

    def filled(self, choice: Choice) -> Choice:
        """A choice with the filler of every forced placement that it leaves open."""
        assert self.fillers is not None, "a forced placement has no head that may stand"
        there = {self.problem.candidates[position].placement for position in choice}
        return tuple(sorted([*choice, *(p for place, p in self.fillers.items() if place not in there)]))

    def feasible(self, items: Sequence[int], most: int | None) -> Choice | None:
        """A choice within the limits from some items, or None where none is found.

        Args:
            most: most exits; None means no further limit.
        """
        choice = self.filled(tuple(self.items[index].position for index in items))
        return within_limits(self.problem, choice, partial(contract_value, self.problem), most)

    def value(self, chosen: Sequence[int]) -> float:
        """Expected value of some items; the final exit is added."""
        value, best = self.problem.fallback, 0
        members = set(chosen)
        for index, item in enumerate(self.items):
            if (index in members or item.position == FINAL) and item.level > best:
                value += float(self.values[item.level] - self.values[best]) * item.reached
                best = item.level
        return value

    def used(self, bits: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """The words of a label's bits as one number 0 or 1 for each placement [labels, bits]."""
        return np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")[:, : self.bits]
