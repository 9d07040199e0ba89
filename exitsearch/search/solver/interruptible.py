"""Exact solver for interruptible budgets: every chosen head on the way is run, so each exit waits for those before it.

A sweep over the placements carries labels (delay so far, best value so far, expected value so far). Only exits worth
more than the best so far are ever added: another would only delay the rest. A label is dropped when another makes it
superfluous (`labels.py`), or when even an optimistic estimate of what it can still gain (`bounds.py`) leaves it
below a choice already known. Where limits make labels many, prices of what is limited sharpen the estimates.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial

import numpy as np

from exitsearch.search.problem import Choice, Problem
from exitsearch.search.solver.bounds import CELLS, SLACK, Estimates, Step
from exitsearch.search.solver.labels import Array, Bools, History, Ints, Labels, undominated
from exitsearch.search.solver.limits import floor_bits, scarce, within_limits
from exitsearch.search.value import interruptible_value

# Under limits, so many labels at once make it worth while to find prices first: cells of the grids, and steps.
_MANY, _PRICING_CELLS, _PRICING_STEPS = 1000, CELLS // 4, 20
# More than any rounding in a sum of what exits take, in units of the sum.
_ROUNDING = 1e-9


class InterruptibleSolver:
    """One problem, prepared for sweeps with any limit on the number of exits.

    Args:
        problem: of any policy but `contract`, whose limit on energy is another; valued as under `interruptible`.
        tolerance: difference of values that counts as none.
        most_labels: most labels carried at once; beyond it the least promising are let go and the result is no longer
            proved, only bounded.

    Attributes:
        is_hard: whether limits made labels many.
    """

    def __init__(self, problem: Problem, *, tolerance: float, most_labels: int) -> None:
        self.problem = problem
        self.tolerance = tolerance
        self.most_labels = most_labels
        self.values = np.unique(
            [problem.fallback, *(c.value for c in problem.candidates if c.value > problem.fallback)]
        )
        self.steps = self._steps()
        self.is_hard = False
        self.slack_ms = SLACK * problem.final_ms
        limits = {
            "params": problem.max_params,
            "memory": problem.max_memory_bytes,
            "energy": problem.heads_mj_left,
            "delay": problem.max_heads_ms,
        }
        self.limits = {name: float(limit) for name, limit in limits.items() if limit is not None}
        # What the required placements of the steps from each on take at least [steps + 1].
        owed = [step if step.required else None for step in self.steps]
        self.owed = {
            name: np.append(np.cumsum([0.0 if s is None else min(s.amounts(name)) for s in owed[::-1]])[::-1], 0.0)
            for name in self.limits
        }
        self.owed_exits = np.append(np.cumsum([s is not None for s in owed[::-1]])[::-1], 0).astype(np.int64)
        # Earliest answer after each step for a label without delay: of a later candidate or of the final exit.
        earliest = [problem.final_ms]
        for step in reversed(self.steps):
            earliest.append(min(earliest[-1], step.arrival_ms + min(step.head_ms)))
        self.earliest_ms = earliest[::-1]  # [steps + 1], the first before any step

    def _steps(self) -> list[Step]:
        steps = []
        for placement, positions in self.problem.by_placement.items():
            required = placement in self.problem.required
            kept = tuple(p for p in positions if required or self.problem.candidates[p].value > self.problem.fallback)
            if kept:
                chosen = self.problem.chosen(kept)
                steps.append(
                    Step(
                        arrival_ms=chosen[0].arrival_ms,
                        positions=kept,
                        levels=tuple(int(np.searchsorted(self.values, c.value)) for c in chosen),
                        head_ms=tuple(c.head_ms for c in chosen),
                        params=tuple(c.params for c in chosen),
                        memory=tuple(c.memory_bytes for c in chosen),
                        energy=tuple(c.head_mj for c in chosen),
                        required=required,
                    )
                )
        return steps

    def solve(
        self, limits: int | None, *, priced: bool = False, frugal: bool = False
    ) -> tuple[list[Choice | None], float]:
        """The best choice with at most 0, 1, ..., `limits` exits, or with any number of them.

        Args:
            limits: largest limit on the number of exits; None lifts the limit, and only one choice is returned.
            priced: whether to find prices of what is limited first; without, that is done when labels grow many.
            frugal: of too many labels keep those that take least of what is limited, not the most promising.

        Returns:
            A choice for each limit (None where none that keeps to all limits was found), and an upper bound of what was
            let go (minus infinity: nothing, so they are exact, and None means that there is none).
        """
        table = self._estimates(limits)
        problem, scarce_fields = self.problem, scarce(self.problem)
        known = [
            within_limits(
                problem,
                self._rollout(table, limit),
                partial(interruptible_value, problem),
                None if limits is None else limit,
            )
            for limit in range(len(table.layers))
        ]
        tables = [table]
        if priced:
            self.is_hard = True
            prices, seen = self._prices
            tables.append(self._estimates(limits, prices=prices))
            value = partial(interruptible_value, problem)
            for limit in range(len(known)):
                most = None if limits is None else limit
                paths = [self._rollout(tables[-1], limit), *([] if seen is None else [seen])]
                found = [known[limit], *(within_limits(problem, path, value, most) for path in paths)]
                known[limit] = max((choice for choice in found if choice is not None), key=value, default=None)
        floor = np.maximum.accumulate(
            [-np.inf if choice is None else interruptible_value(problem, choice) for choice in known]
        )
        labels, history, let_go = Labels.start(problem.fallback), History(), -np.inf
        labels.met = labels.met | floor_bits(problem, problem.fallback, 0.0)
        labels = labels.take(self._fit(labels, 0, limits))
        for index, step in enumerate(self.steps):
            parts = [labels]
            for position, level, head_ms, params, memory, energy in zip(
                step.positions, step.levels, step.head_ms, step.params, step.memory, step.energy, strict=True
            ):
                gains = self._gains(labels, step.arrival_ms, head_ms, level)
                rows: Bools = (gains > 0) | step.required
                if problem.floors:  # an answer may count for a floor where no budget of the distribution is
                    rows |= self.values[level] > self.values[labels.level]
                more = labels.take(rows)
                met = self._met(more, position, head_ms)
                more = more.extended(
                    level=level,
                    gain=gains[rows],
                    delay=head_ms,
                    params=params,
                    memory=memory,
                    energy=energy,
                    met=met,
                )
                more = more.take(self._fit(more, index + 1, limits))
                for estimates in tables:
                    more = more.take(estimates.promising(more, index + 1, floor))
                if len(more):
                    history.record(more, position)
                    parts.append(more)
            parts[0] = labels.take(np.full(len(labels), not step.required))
            for estimates in tables:
                parts[0] = parts[0].take(estimates.promising(parts[0], index + 1, floor))
            labels = Labels.join(parts)
            ceiling = self.problem.survival(self.earliest_ms[index + 1] + labels.delay - self.slack_ms)
            labels = undominated(
                labels,
                self.values[labels.level],
                ceiling,
                counted=limits is not None,
                tolerance=self.tolerance,
                scarce=scarce_fields,
            )
            if len(labels) > _MANY and self.limits and not priced:
                return self.solve(limits, priced=True, frugal=frugal)
            if len(labels) > self.most_labels:
                hope = table.hope(labels, index + 1)
                order = np.lexsort((-hope, self._tightness(labels, index + 1) * frugal))
                let_go = max(let_go, float(hope[order[self.most_labels :]].max()))
                labels = labels.take(np.sort(order[: self.most_labels]))
        final = np.maximum(self.problem.final_value - self.values[labels.level], 0.0)
        totals = labels.value + final * self.problem.survival(self.problem.final_ms + labels.delay)
        met = labels.met | self._met(labels, None, 0.0)
        choices: list[Choice | None] = []
        for limit in range(len(table.layers)):
            ends = np.flatnonzero(labels.count <= (limit if limits is not None else len(self.steps)))
            ends = ends[met[ends] == (1 << len(problem.floors)) - 1]
            ends = ends[totals[ends] >= floor[limit] - 10 * self.tolerance]
            if not len(ends):  # everything was let go but the rollout's choice
                choices.append(known[int(np.argmax(floor[: limit + 1] >= floor[limit]))])
                continue
            ends = ends[totals[ends] >= totals[ends].max() - 10 * self.tolerance]
            best = ends[np.lexsort((labels.params[ends], labels.count[ends]))[0]]
            choices.append(history.choice(int(labels.node[best])))
        return choices, let_go

    def _met(self, labels: Labels, position: int | None, head_ms: float) -> Ints:
        """Bits of the floors that an answer of a candidate, or of the final exit, keeps to [labels]."""
        if not self.problem.floors or not len(labels):
            return np.zeros(len(labels), dtype=np.int64)
        if position is None:
            value, times = self.problem.final_value, self.problem.final_ms + labels.delay
        else:
            candidate = self.problem.candidates[position]
            value, times = candidate.value, candidate.arrival_ms + (labels.delay + head_ms)
        return np.array([floor_bits(self.problem, value, time) for time in times.tolist()], dtype=np.int64)

    def _fit(self, labels: Labels, index: int, limits: int | None) -> Bools:
        """Whether each label before step `index` can still keep to the limits on sums and on exits [labels]."""
        rows = np.ones(len(labels), dtype=np.bool_)
        if limits is not None:
            rows &= labels.count + self.owed_exits[index] <= limits
        for name, limit in self.limits.items():
            taken = getattr(labels, name)
            # What is owed is summed up in another order than by a choice, so it may be more by rounding.
            rows &= (taken <= limit) & (taken + self.owed[name][index] * (1 - _ROUNDING) <= limit)
        return rows

    def _tightness(self, labels: Labels, index: int) -> Array:
        """The largest share of a limit that each label needs at least [labels]."""
        shares = [
            (getattr(labels, name) + self.owed[name][index]) / max(limit, _ROUNDING)
            for name, limit in self.limits.items()
        ]
        result: Array = np.max([np.zeros(len(labels)), *shares], axis=0)
        return result

    def _gains(self, labels: Labels, arrival_ms: float, head_ms: float, level: int) -> Array:
        """What one more exit adds to the expected value of each label; at most 0 where it is worth no more."""
        rise = self.values[level] - self.values[labels.level]
        gains = np.zeros(len(labels))
        rows = np.flatnonzero(rise > 0)
        gains[rows] = rise[rows] * self.problem.survival(arrival_ms + (labels.delay[rows] + head_ms))
        return gains

    @cached_property
    def _prices(self) -> tuple[dict[str, float], Choice | None]:
        """Prices of what is limited, and the best choice within all limits that was met, of any number of exits.

        A limit on the number of exits leaves the prices good enough; layers for it would make the grid too coarse.
        """
        problem, best, best_value = self.problem, None, -np.inf
        prices, least, least_prices = dict.fromkeys(self.limits, 0.0), np.inf, dict.fromkeys(self.limits, 0.0)
        value, start = partial(interruptible_value, problem), Labels.start(problem.fallback)
        # In units of the limits, so that bytes do not drown the others; a limit of 0 has no unit.
        units = {name: limit or 1.0 for name, limit in self.limits.items()}
        stride = 0.0
        for number in range(1, _PRICING_STEPS + 1):
            table = self._estimates(None, prices=prices, cells=_PRICING_CELLS)
            bound = float(table.hope(start, 0)[0])
            if bound < least:
                least, least_prices = bound, prices
            path = self._rollout(table, 0)
            kept = within_limits(problem, path, value, None)
            if kept is not None and value(kept) > best_value:
                best, best_value = kept, value(kept)
            slope = {name: (self._used(name, path) - self.limits[name]) / units[name] for name in prices}
            slope = {name: rise if rise > 0 or prices[name] > 0 else 0.0 for name, rise in slope.items()}
            steepness = float(np.linalg.norm(list(slope.values())))
            if not steepness:
                break
            # The first stride closes the gap between what is hoped for and what is known; strides sum up without end
            # and become short, as subgradient steps must (Shor 1985).
            if not stride:
                stride = least - best_value if best is not None else 0.1 * abs(least)
            move = stride / number / steepness
            prices = {name: max(0.0, prices[name] + move * slope[name] / units[name]) for name in prices}
        return least_prices, best

    def _estimates(
        self, exits: int | None, *, prices: Mapping[str, float] | None = None, cells: int = CELLS
    ) -> Estimates:
        return Estimates(self.problem, self.steps, self.values, exits, limits=self.limits, prices=prices, cells=cells)

    def _used(self, name: str, choice: Choice) -> float:
        """What a choice takes of something limited."""
        fields = {"params": "params", "memory": "memory_bytes", "energy": "head_mj", "delay": "head_ms"}
        return float(sum(getattr(candidate, fields[name]) for candidate in self.problem.chosen(choice)))

    def _rollout(self, table: Estimates, limit: int) -> Choice:
        """A good choice: at every placement the step that the estimates promise most of."""
        label, choice, layer = Labels.start(self.problem.fallback), [], limit
        for index, step in enumerate(self.steps):
            skipped = float(table.gain(label, index + 1, np.array([layer]))[0])
            best, best_hope = None, -np.inf if step.required else skipped
            if layer != table.layers[layer] or table.free:
                payments = table.payments[index]
                for position, level, head_ms, payment in zip(
                    step.positions, step.levels, step.head_ms, payments, strict=True
                ):
                    gains = self._gains(label, step.arrival_ms, head_ms, level)
                    if gains[0] <= 0 and not step.required:
                        continue
                    more = label.extended(level=level, gain=gains, delay=head_ms, params=0)
                    after = table.gain(more, index + 1, np.array([table.layers[layer]]))
                    hope = float(gains[0] + after[0]) - payment
                    if hope > best_hope:
                        best, best_hope = (position, more), hope
            if best is not None:
                choice.append(best[0])
                label, layer = best[1], table.layers[layer]
        return tuple(choice)
