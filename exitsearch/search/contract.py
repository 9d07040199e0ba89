"""Exact solver for contract budgets: the budget is known beforehand and only one head is run, so no exit waits.

With the candidates in order of finish time the best choice is a staircase of rising values, which one sweep would find
if a placement could carry several heads. That it carries at most one ties the steps together. So each placement gets a
price for every use, refunded once (a Lagrangian multiplier, found by subgradient steps): the best staircase at these
prices is never below the optimum. A second sweep carries labels (best value so far, expected value so far, placements
used) and drops what another label makes superfluous (`labels.py`, without delays) and what the priced staircase leaves
below a choice already known. A placement is remembered only while candidates of it are still to come.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from exitsearch.search.labels import Array, Bools, History, Labels, undominated
from exitsearch.search.limits import floor_bits, scarce, within_limits
from exitsearch.search.problem import Choice, Problem
from exitsearch.search.value import contract_value

_SUBGRADIENT_STEPS = 60
# After so many subgradient steps without a lower bound the step is halved (Held, Wolfe and Crowder 1974).
_PATIENCE = 4
_FINAL = -1
# Attributes of a candidate that the fields of a label sum up.
_AMOUNTS = {"params": "params", "memory": "memory_bytes"}


@dataclass(frozen=True)
class Item:
    """A candidate, or the final exit, in order of finish time.

    Attributes:
        position: of the candidate in the problem; -1 for the final exit, which is always there.
        level: position of its value in the table of values.
        reached: survival of its finish time.
        memory: bytes of its head's weights.
        met: one bit for each floor that it keeps to.
        bit: number of its placement among those that have several items or must be used; None at the others.
    """

    position: int
    level: int
    reached: float
    params: int
    memory: int
    met: int
    bit: int | None


class ContractSolver:
    """One problem, prepared for sweeps with any limit on the number of exits.

    Args:
        problem: of the policy `contract`, by which its limit on energy and its floors are read.
        tolerance: difference of values that counts as none.
        most_labels: most labels carried at once; beyond it the least promising are let go and the result is no longer
            proved, only bounded.
    """

    def __init__(self, problem: Problem, *, tolerance: float, most_labels: int) -> None:
        self.problem = problem
        self.tolerance = tolerance
        self.most_labels = most_labels
        self.is_hard = False  # limits seldom make labels many, since no exit waits
        values = [problem.final_value, *(candidate.value for candidate in problem.candidates)]
        self.values = np.unique([problem.fallback, *(value for value in values if value > problem.fallback)])
        # One head is run, so a limit on the energy of an answer speaks of each candidate alone.
        most_mj = np.inf if problem.max_energy_mj is None else problem.max_energy_mj
        self.affordable = {
            placement: tuple(
                p for p in positions if problem.candidates[p].arrival_mj + problem.candidates[p].head_mj <= most_mj
            )
            for placement, positions in problem.by_placement.items()
        }
        self.items = self._items()
        bits = [item.bit for item in self.items if item.bit is not None]
        self.bits = len(set(bits))
        last = {item.bit: index for index, item in enumerate(self.items)}
        # Exits that stand only because their placement must carry one are added at the end, and count for nothing.
        self.fillers = self._fillers(bits)
        self.owed = [0] * -(-self.bits // 64)
        for bit, _ in self.fillers:
            last[bit] = len(self.items)
            self.owed[bit // 64] |= 1 << bit % 64
        # open[i]: placements of which a candidate comes at item i or later [items + 1, bits].
        self.open = np.array(
            [[last[bit] >= index for bit in range(self.bits)] for index in range(len(self.items) + 1)], dtype=np.bool_
        )

    def _items(self) -> list[Item]:
        problem = self.problem
        finish = np.array([c.arrival_ms + c.head_ms for c in problem.candidates])
        reached = problem.survival(finish)
        smallest = float(np.diff(self.values).min(initial=np.inf))

        amounts = ("params", *(_AMOUNTS[name] for name in scarce(problem)))

        def stands_in(other: int, mine: int) -> bool:
            """Whether another head of the same placement can always take this one's part, also where values tie."""
            a, b = problem.candidates[mine], problem.candidates[other]
            if finish[other] > finish[mine] or b.value < a.value:
                return False
            if all(getattr(b, name) <= getattr(a, name) for name in amounts):
                return True
            # More parameters count for something only where values tie, or where parameters are limited.
            earlier = bool((reached[other] - reached[mine]) * smallest > 10 * self.tolerance)
            return earlier and not scarce(problem)

        def superfluous(mine: int, other: int) -> bool:
            # Two that can take each other's part differ in nothing that counts. One of them must stay: the first.
            return stands_in(other, mine) and (other < mine or not stands_in(mine, other))

        kept: list[tuple[int, int | None]] = []
        bits = 0
        for placement, positions in self.affordable.items():
            worth = [p for p in positions if problem.candidates[p].value > problem.fallback]
            useful = [p for p in worth if reached[p] > 0 or problem.floors]
            here = [p for p in useful if not any(superfluous(p, other) for other in useful if other != p)]
            numbered = len(here) > 1 or (placement in problem.required and len(here) > 0)
            kept.extend((p, bits if numbered else None) for p in here)
            bits += numbered
        entries = []
        for position, bit in kept:
            candidate = problem.candidates[position]
            level = int(np.searchsorted(self.values, candidate.value))
            met = floor_bits(problem, candidate.value, float(finish[position]))
            memory = candidate.memory_bytes
            item = Item(position, level, float(reached[position]), candidate.params, memory, met, bit)
            entries.append((finish[position], item))
        if problem.final_value > problem.fallback:
            level = int(np.searchsorted(self.values, problem.final_value))
            survival = float(problem.survival(problem.final_ms))
            met = floor_bits(problem, problem.final_value, problem.final_ms)
            entries.append((problem.final_ms, Item(_FINAL, level, survival, 0, 0, met, None)))
        return [item for _, item in sorted(entries, key=lambda entry: (entry[0], entry[1].level))]

    def _fillers(self, bits: list[int]) -> list[tuple[int, tuple[int, ...]]]:
        """Bit and candidates of each required placement; those without an item get bits of their own."""
        by_place = {
            self.problem.candidates[item.position].placement: item.bit for item in self.items if item.bit is not None
        }
        found = []
        for placement in self.problem.required:
            bit = by_place.get(placement)
            if bit is None:
                bit, self.bits = self.bits, self.bits + 1
            found.append((bit, self.affordable[placement]))
        return found

    def solve(self, limits: int | None) -> tuple[list[Choice | None], float]:
        """The best choice with at most 0, 1, ..., `limits` exits, or with any number of them.

        Args:
            limits: largest limit on the number of exits; None lifts the limit, and only one choice is returned.

        Returns:
            A choice for each limit (None where none keeps to all limits), and an upper bound of what was let go (minus
            infinity: nothing, so they are exact).
        """
        table = _Prices(self, limits)
        problem = self.problem
        known = [self._feasible(items, None if limits is None else limit) for limit, items in enumerate(table.known)]
        floor = np.array([-np.inf if choice is None else contract_value(problem, choice) for choice in known])
        labels, history, let_go = Labels.start(problem.fallback, words=-(-self.bits // 64)), History(), -np.inf
        labels.met = labels.met | floor_bits(problem, problem.fallback, 0.0)
        for index, item in enumerate(self.items):
            rows: Bools = labels.level < item.level
            gains = (self.values[item.level] - self.values[labels.level]) * item.reached
            if item.position == _FINAL:
                # Always there and free of charge: every label takes it.
                labels.value = labels.value + np.where(rows, gains, 0.0)
                labels.level = np.maximum(labels.level, item.level)
                labels.met = labels.met | item.met
                continue
            if item.bit is not None:
                word, mask = item.bit // 64, np.uint64(1 << (item.bit % 64))
                rows &= (labels.used[:, word] & mask) == 0
            rows &= self._affordable(labels, limits, item.params, item.memory)
            more = labels.take(rows).extended(
                level=item.level,
                gain=gains[rows],
                delay=0.0,
                params=item.params,
                memory=item.memory,
                met=item.met,
            )
            if item.bit is not None:
                still_open = self.open[index + 1, item.bit]
                if still_open:
                    more.used[:, word] |= mask
                else:
                    labels.used[:, word] &= ~mask
            more = more.take(table.promising(more, index + 1, floor))
            history.record(more, item.position)
            labels = Labels.join([labels.take(table.promising(labels, index + 1, floor)), more])
            ceiling = self.items[index + 1].reached if index + 1 < len(self.items) else 0.0
            labels = undominated(
                labels,
                self.values[labels.level],
                np.full(len(labels), ceiling),
                counted=limits is not None,
                tolerance=self.tolerance,
                scarce=scarce(problem),
                owed=self.owed,
            )
            if len(labels) > self.most_labels:
                hope = table.hope(labels, index + 1, len(floor) - 1)
                order = np.argsort(-hope, kind="stable")
                let_go = max(let_go, float(hope[order[self.most_labels]]))
                labels = labels.take(np.sort(order[: self.most_labels]))
        labels = self._filled(labels, history, limits)
        choices: list[Choice | None] = []
        for limit in range(len(floor)):
            ends = np.flatnonzero((labels.count <= limit) | (limits is None))
            ends = ends[labels.met[ends] == (1 << len(problem.floors)) - 1]
            ends = ends[labels.value[ends] >= floor[limit] - 10 * self.tolerance]
            if not len(ends):  # everything was let go but the choice known beforehand
                choices.append(known[limit])
                continue
            ends = ends[labels.value[ends] >= labels.value[ends].max() - 10 * self.tolerance]
            best = ends[np.lexsort((labels.params[ends], labels.count[ends]))[0]]
            choices.append(history.choice(int(labels.node[best])))
        return choices, let_go

    def _affordable(self, labels: Labels, limits: int | None, params: int, memory: int) -> Bools:
        """Whether each label may take one more head."""
        problem, rows = self.problem, np.ones(len(labels), dtype=np.bool_)
        if limits is not None:
            rows &= labels.count < limits
        if problem.max_params is not None:
            rows &= labels.params + params <= problem.max_params
        if problem.max_memory_bytes is not None:
            rows &= labels.memory + memory <= problem.max_memory_bytes
        return rows

    def _filled(self, labels: Labels, history: History, limits: int | None) -> Labels:
        """The labels with an exit at every placement that must carry one."""
        for bit, positions in self.fillers:
            there = (labels.used[:, bit // 64] >> np.uint64(bit % 64)) & np.uint64(1) == 1
            parts = [labels.take(there)]
            for position in positions:
                candidate = self.problem.candidates[position]
                params, memory = candidate.params, candidate.memory_bytes
                open_ = labels.take(~there & self._affordable(labels, limits, params, memory))
                more = open_.extended(level=0, gain=np.zeros(len(open_)), delay=0.0, params=params, memory=memory)
                history.record(more, position)
                parts.append(more)
            labels = Labels.join(parts)
        return labels

    def _feasible(self, items: list[int], most: int | None) -> Choice | None:
        """A choice within the limits from some items, or None."""
        choice = [self.items[index].position for index in items]
        places = {self.problem.candidates[position].placement for position in choice}
        for placement in self.problem.required:
            if placement not in places:
                if not (options := self.affordable[placement]):
                    return None
                choice.append(min(options, key=lambda p: self.problem.candidates[p].params))
        value = partial(contract_value, self.problem)
        return within_limits(self.problem, tuple(sorted(choice)), value, most)

    def staircase(self, chosen: list[int]) -> float:
        """Expected value of some items; the final exit is added."""
        value, best = self.problem.fallback, 0
        members = set(chosen)
        for index, item in enumerate(self.items):
            if (index in members or item.position == _FINAL) and item.level > best:
                value += float(self.values[item.level] - self.values[best]) * item.reached
                best = item.level
        return value


class _Prices:
    """Prices of the placements and, at these prices, what can still be gained: [items + 1][layers, values].

    Layer r stands for at most r more exits; with `limits` None there is one layer without a limit.

    Attributes:
        known: for each limit the items of a good choice.
    """

    def __init__(self, solver: ContractSolver, limits: int | None) -> None:
        self.solver = solver
        self.free = limits is None
        self.layers = 1 if limits is None else limits + 1
        self.price = np.zeros(solver.bits)
        self.known: list[list[int]] = [[] for _ in range(self.layers)]
        top = self.layers - 1
        best_price, best_bound, best_value = self.price, np.inf, solver.staircase([])
        step, waited = 1.0, 0
        for _ in range(_SUBGRADIENT_STEPS):
            self.gains = self._gains()
            path = self._path(top)
            bound = solver.problem.fallback + float(self.gains[0][top, 0]) + float(self.price.sum())
            waited += 1
            if bound < best_bound - 1e-9 * abs(bound):
                best_price, best_bound, waited = self.price, bound, 0
            known = self._repaired(path)
            value = solver.staircase(known)
            if value > best_value:
                self.known[top], best_value = known, value
            uses = np.zeros(solver.bits)
            for index in path:
                if (bit := solver.items[index].bit) is not None:
                    uses[bit] += 1
            slope = np.where((uses > 1) | (self.price > 0), uses - 1.0, 0.0)
            if not slope.any() or best_bound - best_value <= solver.tolerance:
                break
            if waited >= _PATIENCE:
                step, waited = step / 2, 0
            self.price = np.maximum(0.0, self.price + step * (bound - best_value) / (slope @ slope) * slope)
        self.price = best_price
        self.gains = self._gains()
        for layer in range(self.layers):
            known = self._repaired(self._path(layer))
            options = [known, self.known[layer], *([self.known[layer - 1]] if layer else [])]
            self.known[layer] = max(options, key=solver.staircase)

    def _gains(self) -> list[Array]:
        solver = self.solver
        gains = [np.zeros((self.layers, len(solver.values)))]
        for item in reversed(solver.items):
            after = gains[-1]
            now, level = after.copy(), item.level
            gain = (solver.values[level] - solver.values[:level]) * item.reached
            if item.position == _FINAL:
                now[:, :level] = gain + after[:, level, None]
            else:
                gain = gain - (0.0 if item.bit is None else self.price[item.bit])
                if self.free:
                    np.maximum(now[:, :level], gain + after[:, level, None], out=now[:, :level])
                else:
                    np.maximum(now[1:, :level], gain + after[:-1, level, None], out=now[1:, :level])
            gains.append(now)
        gains.reverse()
        return gains

    def _path(self, layer: int) -> list[int]:
        """The candidates of a best staircase at these prices."""
        path, best = [], 0
        for index, item in enumerate(self.solver.items):
            if item.level <= best:
                continue
            if item.position == _FINAL:
                best = item.level
            elif self.gains[index][layer, best] > self.gains[index + 1][layer, best]:
                path.append(index)
                best = item.level
                layer -= not self.free
        return path

    def _repaired(self, path: list[int]) -> list[int]:
        """The same with one candidate a placement: where there are several, the ones that matter least go."""
        solver, kept = self.solver, list(path)
        for bit in {solver.items[index].bit for index in path} - {None}:
            while len(same := [index for index in kept if solver.items[index].bit == bit]) > 1:
                without = {index: [other for other in kept if other != index] for index in same}
                kept = max(without.values(), key=solver.staircase)
        return kept

    def hope(self, labels: Labels, index: int, limit: int) -> Array:
        """The most that each label, standing before item `index`, can come to under a limit."""
        layers = np.zeros(len(labels), dtype=np.int64) if self.free else limit - labels.count
        refund = np.where(self.solver.open[index], self.price, 0.0) if self.solver.bits else np.zeros(0)
        used = np.unpackbits(labels.used.view(np.uint8), axis=1, bitorder="little")[:, : self.solver.bits]
        result: Array = labels.value + self.gains[index][layers, labels.level] + (refund.sum() - used @ refund)
        return result

    def promising(self, labels: Labels, index: int, floor: Array) -> Bools:
        """Whether each label may still reach what is known already, for one of the limits at least."""
        slack = 10 * self.solver.tolerance
        if self.free:
            return np.asarray(self.hope(labels, index, 0) >= floor[0] - slack)
        result = np.zeros(len(labels), dtype=np.bool_)
        for limit in range(self.layers):
            rows = np.flatnonzero(labels.count <= limit)
            result[rows] |= self.hope(labels.take(rows), index, limit) >= floor[limit] - slack
        return result
