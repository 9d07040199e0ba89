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

import numpy as np

from exitsearch.search.labels import Array, Bools, History, Labels, undominated
from exitsearch.search.problem import Choice, Problem

_SUBGRADIENT_STEPS = 60
# After so many subgradient steps without a lower bound the step is halved (Held, Wolfe and Crowder 1974).
_PATIENCE = 4
_FINAL = -1


@dataclass(frozen=True)
class Item:
    """A candidate, or the final exit, in order of finish time.

    Attributes:
        position: of the candidate in the problem; -1 for the final exit, which is always there.
        level: position of its value in the table of values.
        reached: survival of its finish time.
        bit: number of its placement among those that have several items; None at the others.
    """

    position: int
    level: int
    reached: float
    params: int
    bit: int | None


class ContractSolver:
    """One problem, prepared for sweeps with any limit on the number of exits.

    Args:
        problem: its policy is ignored.
        tolerance: difference of values that counts as none.
        most_labels: most labels carried at once; beyond it the least promising are let go and the result is no longer
            proved, only bounded.
    """

    def __init__(self, problem: Problem, *, tolerance: float, most_labels: int) -> None:
        self.problem = problem
        self.tolerance = tolerance
        self.most_labels = most_labels
        values = [problem.final_value, *(candidate.value for candidate in problem.candidates)]
        self.values = np.unique([problem.fallback, *(value for value in values if value > problem.fallback)])
        self.items = self._items()
        bits = [item.bit for item in self.items if item.bit is not None]
        self.bits = len(set(bits))
        last = {item.bit: index for index, item in enumerate(self.items)}
        # open[i]: placements of which a candidate comes at item i or later [items + 1, bits].
        self.open = np.array(
            [[last[bit] >= index for bit in range(self.bits)] for index in range(len(self.items) + 1)], dtype=np.bool_
        )

    def _items(self) -> list[Item]:
        problem = self.problem
        finish = np.array([c.arrival_ms + c.head_ms for c in problem.candidates])
        reached = problem.survival(finish)
        smallest = float(np.diff(self.values).min(initial=np.inf))

        def superfluous(mine: int, other: int) -> bool:
            """Whether another head of the same placement can always stand in, also where values tie."""
            a, b = problem.candidates[mine], problem.candidates[other]
            if finish[other] > finish[mine] or b.value < a.value:
                return False
            if finish[other] == finish[mine] and b.value == a.value and a.params == b.params:
                return other < mine
            return b.params <= a.params or bool((reached[other] - reached[mine]) * smallest > 10 * self.tolerance)

        kept: list[tuple[int, int | None]] = []
        bits = 0
        for positions in problem.by_placement.values():
            useful = [p for p in positions if problem.candidates[p].value > problem.fallback and reached[p] > 0]
            here = [p for p in useful if not any(superfluous(p, other) for other in useful if other != p)]
            kept.extend((p, bits if len(here) > 1 else None) for p in here)
            bits += len(here) > 1
        entries = []
        for position, bit in kept:
            value, params = problem.candidates[position].value, problem.candidates[position].params
            level = int(np.searchsorted(self.values, value))
            entries.append((finish[position], Item(position, level, float(reached[position]), params, bit)))
        if problem.final_value > problem.fallback:
            level = int(np.searchsorted(self.values, problem.final_value))
            survival = float(problem.survival(problem.final_ms))
            entries.append((problem.final_ms, Item(_FINAL, level, survival, 0, None)))
        return [item for _, item in sorted(entries, key=lambda entry: (entry[0], entry[1].level))]

    def solve(self, limits: int | None) -> tuple[list[Choice], float]:
        """The best choice with at most 0, 1, ..., `limits` exits, or with any number of them.

        Args:
            limits: largest limit on the number of exits; None lifts the limit, and only one choice is returned.

        Returns:
            A choice for each limit, and an upper bound of what was let go (minus infinity: nothing, so they are exact).
        """
        table = _Prices(self, limits)
        floor = np.array([self.staircase(items) for items in table.known])
        labels, history, let_go = Labels.start(self.problem.fallback, words=-(-self.bits // 64)), History(), -np.inf
        for index, item in enumerate(self.items):
            rows: Bools = labels.level < item.level
            gains = (self.values[item.level] - self.values[labels.level]) * item.reached
            if item.position == _FINAL:
                # Always there and free of charge: every label takes it.
                labels.value = labels.value + np.where(rows, gains, 0.0)
                labels.level = np.maximum(labels.level, item.level)
                continue
            if item.bit is not None:
                word, mask = item.bit // 64, np.uint64(1 << (item.bit % 64))
                rows &= (labels.used[:, word] & mask) == 0
            if limits is not None:
                rows &= labels.count < limits
            more = labels.take(rows).extended(level=item.level, gain=gains[rows], delay=0.0, params=item.params)
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
            )
            if len(labels) > self.most_labels:
                hope = table.hope(labels, index + 1, len(floor) - 1)
                order = np.argsort(-hope, kind="stable")
                let_go = max(let_go, float(hope[order[self.most_labels]]))
                labels = labels.take(np.sort(order[: self.most_labels]))
        choices = []
        for limit in range(len(floor)):
            ends = np.flatnonzero((labels.count <= limit) | (limits is None))
            ends = ends[labels.value[ends] >= floor[limit] - 10 * self.tolerance]
            if not len(ends):  # everything was let go but the choice known beforehand
                choices.append(tuple(sorted(self.items[i].position for i in table.known[limit])))
                continue
            ends = ends[labels.value[ends] >= labels.value[ends].max() - 10 * self.tolerance]
            best = ends[np.lexsort((labels.params[ends], labels.count[ends]))[0]]
            choices.append(history.choice(int(labels.node[best])))
        return choices, let_go

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
