"""Exact solver for interruptible budgets: every chosen head on the way is run, so each exit waits for those before it.

A sweep over the placements carries labels (delay so far, best value so far, expected value so far). Only exits worth
more than the best so far are ever added: another would only delay the rest. A label is dropped when another makes it
superfluous (`labels.py`), or when even an optimistic estimate of what it can still gain (`bounds.py`) leaves it
below a choice already known. Where limits make labels many, prices of what is limited sharpen the estimates.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from exitsearch.search.problem import Choice, Problem
from exitsearch.search.solver.bounds import CELLS, SLACK, Estimates, Step
from exitsearch.search.solver.labels import Array, Bools, History, Ints, Labels, undominated
from exitsearch.search.solver.limits import Quotas, met_bits, within_limits
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
        self.quotas = Quotas.of(problem)
        self.steps = self._steps()
        self.is_hard = False
        self.slack_ms = SLACK * problem.final_ms
        # What the forced placements of the steps from each on take at least [steps + 1, resources].
        least = [step.takes.min(axis=0) if step.forced else np.zeros(len(self.quotas)) for step in self.steps]
        self.owed = np.cumsum([np.zeros(len(self.quotas)), *least[::-1]], axis=0)[::-1]
        forced = [step.forced for step in self.steps]
        self.owed_exits = np.cumsum([False, *forced[::-1]])[::-1].astype(np.int64)
        # Earliest answer after each step for a label without delay: of a later candidate or of the final exit.
        earliest = [problem.final_ms]
        for step in reversed(self.steps):
            earliest.append(min(earliest[-1], step.arrival_ms + min(step.head_ms)))
        self.earliest_ms = earliest[::-1]  # [steps + 1], the first before any step

    def _steps(self) -> list[Step]:
        steps = []
        for placement, positions in self.problem.by_placement.items():
            forced = placement in self.problem.forced
            kept = tuple(p for p in positions if forced or self.problem.candidates[p].value > self.problem.fallback)
            if kept:
                chosen = self.problem.chosen(kept)
                steps.append(
                    Step(
                        arrival_ms=chosen[0].arrival_ms,
                        positions=kept,
                        levels=tuple(int(np.searchsorted(self.values, c.value)) for c in chosen),
                        head_ms=tuple(c.head_ms for c in chosen),
                        params=tuple(c.params for c in chosen),
                        takes=self.quotas.takes[list(kept)],
                        forced=forced,
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
        tables = [self._estimates(limits)]
        known = [self._kept(self._rollout(tables[0], limit), limits, limit) for limit in range(len(tables[0].layers))]
        if priced:
            self.is_hard = True
            prices, seen = self._prices
            tables.append(self._estimates(limits, prices=prices))
            for limit in range(len(known)):
                paths = [self._rollout(tables[-1], limit), *([] if seen is None else [seen])]
                known[limit] = self._best([known[limit], *(self._kept(path, limits, limit) for path in paths)])
        least = np.maximum.accumulate([-np.inf if choice is None else self._value(choice) for choice in known])
        labels, history, let_go = self._start(limits), History(), -np.inf
        for index in range(len(self.steps)):
            labels = self._after(labels, index, history, tables, least, limits)
            if len(labels) > _MANY and len(self.quotas) and not priced:
                return self.solve(limits, priced=True, frugal=frugal)
            if len(labels) > self.most_labels:
                bounds = tables[0].upper_bound(labels, index + 1)
                order = np.lexsort((-bounds, self._tightness(labels, index + 1) * frugal))
                let_go = max(let_go, float(bounds[order[self.most_labels :]].max()))
                labels = labels.take(np.sort(order[: self.most_labels]))
        return self._ends(labels, history, known, least, limits), let_go

    def _value(self, choice: Choice) -> float:
        return interruptible_value(self.problem, choice)

    def _kept(self, choice: Choice, limits: int | None, limit: int) -> Choice | None:
        """A choice within the limits made from another, with at most `limit` exits where they are limited."""
        return within_limits(self.problem, choice, self._value, None if limits is None else limit)

    def _best(self, choices: Sequence[Choice | None]) -> Choice | None:
        return max((choice for choice in choices if choice is not None), key=self._value, default=None)

    def _start(self, limits: int | None) -> Labels:
        """The one label from which a sweep starts, or none where what is forced cannot be had."""
        labels = Labels.start(self.problem.fallback, resources=len(self.quotas))
        labels.met = labels.met | met_bits(self.problem, self.problem.fallback, 0.0)
        return labels.take(self._fit(labels, 0, limits))

    def _after(
        self,
        labels: Labels,
        index: int,
        history: History,
        tables: Sequence[Estimates],
        known: Array,
        limits: int | None,
    ) -> Labels:
        """The labels behind a step that are worth carrying on: with one of its candidates each, or none."""
        step = self.steps[index]
        parts: list[Labels] = []
        for number in range(-1, len(step.positions)):
            if number < 0:
                more = labels.take(np.full(len(labels), not step.forced))
            else:
                more = self._with(labels, step, number)
                more = more.take(self._fit(more, index + 1, limits))
            for estimates in tables:
                more = more.take(estimates.promising(more, index + 1, known))
            if number >= 0 and len(more):
                history.record(more, step.positions[number])
            if len(more) or not parts:
                parts.append(more)
        labels = Labels.join(parts)
        return undominated(
            labels,
            self.values[labels.level],
            self.problem.survival(self.earliest_ms[index + 1] + labels.delay - self.slack_ms),
            counted=limits is not None,
            tolerance=self.tolerance,
        )

    def _with(self, labels: Labels, step: Step, number: int) -> Labels:
        """Those labels to which one candidate of a step adds something, with it."""
        level, head_ms = step.levels[number], step.head_ms[number]
        gains = self._gains(labels, step.arrival_ms, head_ms, level)
        rows: Bools = (gains > 0) | step.forced
        if self.problem.min_values:  # an answer may count for one where no budget of the distribution is
            rows |= self.values[level] > self.values[labels.level]
        more = labels.take(rows)
        return more.extended(
            level=level,
            gain=gains[rows],
            delay=head_ms,
            params=step.params[number],
            takes=step.takes[number],
            met=self._met(more, step.positions[number], head_ms),
        )

    def _ends(
        self, labels: Labels, history: History, known: Sequence[Choice | None], values: Array, limits: int | None
    ) -> list[Choice | None]:
        """The best choice for each limit that the labels at the end of a sweep stand for.

        Args:
            known: a choice for each limit, known beforehand.
            values: what each of these or one with fewer exits is worth.
        """
        final = np.maximum(self.problem.final_value - self.values[labels.level], 0.0)
        totals = labels.value + final * self.problem.survival(self.problem.final_ms + labels.delay)
        met = labels.met | self._met(labels, None, 0.0)
        choices: list[Choice | None] = []
        for limit in range(len(known)):
            ends = np.flatnonzero(labels.count <= (limit if limits is not None else len(self.steps)))
            ends = ends[met[ends] == (1 << len(self.problem.min_values)) - 1]
            ends = ends[totals[ends] >= values[limit] - 10 * self.tolerance]
            if not len(ends):  # everything was let go but the rollout's choice
                choices.append(known[int(np.argmax(values[: limit + 1] >= values[limit]))])
                continue
            ends = ends[totals[ends] >= totals[ends].max() - 10 * self.tolerance]
            best = ends[np.lexsort((labels.params[ends], labels.count[ends]))[0]]
            choices.append(history.choice(int(labels.node[best])))
        return choices

    def _met(self, labels: Labels, position: int | None, head_ms: float) -> Ints:
        """Bits of the minimum values that an answer of a candidate, or of the final exit, keeps to [labels]."""
        if not self.problem.min_values or not len(labels):
            return np.zeros(len(labels), dtype=np.int64)
        if position is None:
            value, times = self.problem.final_value, self.problem.final_ms + labels.delay
        else:
            candidate = self.problem.candidates[position]
            value, times = candidate.value, candidate.arrival_ms + (labels.delay + head_ms)
        return np.array([met_bits(self.problem, value, time) for time in times.tolist()], dtype=np.int64)

    def _fit(self, labels: Labels, index: int, limits: int | None) -> Bools:
        """Whether each label before step `index` can still keep to the limits on sums and on exits [labels]."""
        rows = np.ones(len(labels), dtype=np.bool_)
        if limits is not None:
            rows &= labels.count + self.owed_exits[index] <= limits
        for column, most in enumerate(self.quotas.most.tolist()):
            taken = labels.takes[:, column]
            # What is owed is summed up in another order than by a choice, so it may be more by rounding.
            rows &= (taken <= most) & (taken + self.owed[index, column] * (1 - _ROUNDING) <= most)
        return rows

    def _tightness(self, labels: Labels, index: int) -> Array:
        """The largest share of a limit that each label needs at least [labels]."""
        shares = (labels.takes + self.owed[index]) / np.maximum(self.quotas.most, _ROUNDING)
        result: Array = shares.max(axis=1, initial=0.0)
        return result

    def _gains(self, labels: Labels, arrival_ms: float, head_ms: float, level: int) -> Array:
        """What one more exit adds to the expected value of each label; at most 0 where it is worth no more."""
        rise = self.values[level] - self.values[labels.level]
        gains = np.zeros(len(labels))
        rows = np.flatnonzero(rise > 0)
        gains[rows] = rise[rows] * self.problem.survival(arrival_ms + (labels.delay[rows] + head_ms))
        return gains

    @cached_property
    def _prices(self) -> tuple[Array, Choice | None]:
        """Prices of what is limited, and the best choice within all limits that was met, of any number of exits.

        A limit on the number of exits leaves the prices good enough; layers for it would make the grid too coarse.
        """
        best: Choice | None = None
        most = self.quotas.most
        prices = least_prices = np.zeros(len(most))
        least, start = np.inf, Labels.start(self.problem.fallback, resources=len(most))
        # In units of the limits, so that bytes do not drown the others; a limit of 0 has no unit.
        units = np.where(most == 0, 1.0, most)
        stride = 0.0
        for number in range(1, _PRICING_STEPS + 1):
            table = self._estimates(None, prices=prices, cells=_PRICING_CELLS)
            bound = float(table.upper_bound(start, 0)[0])
            if bound < least:
                least, least_prices = bound, prices
            path = self._rollout(table, 0)
            best = self._best([best, self._kept(path, None, 0)])
            taken = np.array([sum(column) for column in self.quotas.takes[list(path)].T.tolist()])
            slope = (taken - most) / units
            slope = np.where((slope > 0) | (prices > 0), slope, 0.0)
            steepness = float(np.linalg.norm(slope))
            if not steepness:
                break
            # The first stride closes the gap between the bound and what is known; strides sum up without end and
            # become short, as subgradient steps must (Shor 1985).
            if not stride:
                stride = least - self._value(best) if best is not None else 0.1 * abs(least)
            move = stride / number / steepness
            prices = np.maximum(0.0, prices + move * slope / units)
        return least_prices, best

    def _estimates(self, exits: int | None, *, prices: Array | None = None, cells: int = CELLS) -> Estimates:
        return Estimates(
            self.problem, self.steps, self.values, exits, most=self.quotas.most, prices=prices, cells=cells
        )

    def _rollout(self, table: Estimates, limit: int) -> Choice:
        """A good choice: at every placement the step that the estimates promise most of."""
        label, choice, layer = Labels.start(self.problem.fallback), [], limit
        for index, step in enumerate(self.steps):
            skipped = float(table.gain(label, index + 1, np.array([layer]))[0])
            best, most = None, -np.inf if step.forced else skipped
            if layer != table.layers[layer] or table.free:
                payments = table.payments[index]
                for position, level, head_ms, payment in zip(
                    step.positions, step.levels, step.head_ms, payments, strict=True
                ):
                    gains = self._gains(label, step.arrival_ms, head_ms, level)
                    if gains[0] <= 0 and not step.forced:
                        continue
                    more = label.extended(level=level, gain=gains, delay=head_ms, params=0)
                    after = table.gain(more, index + 1, np.array([table.layers[layer]]))
                    promised = float(gains[0] + after[0]) - payment
                    if promised > most:
                        best, most = (position, more), promised
            if best is not None:
                choice.append(best[0])
                label, layer = best[1], table.layers[layer]
        return tuple(choice)
