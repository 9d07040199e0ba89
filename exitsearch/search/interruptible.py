"""Exact solver for interruptible budgets: every chosen head on the way is run, so each exit waits for those before it.

A sweep over the placements carries labels (delay so far, best value so far, expected value so far). Only exits worth
more than the best so far are ever added: another would only delay the rest. A label is dropped when another makes it
superfluous (`labels.py`), or when even an optimistic estimate of what it can still gain leaves it below a choice
already known. The estimate comes from a table computed backwards over a grid of delays, in which every delay is
rounded down; since survival falls with time, that never underestimates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from exitsearch.search.labels import Array, Bools, History, Ints, Labels, undominated
from exitsearch.search.limits import floor_bits, scarce, within_limits
from exitsearch.search.problem import Choice, Problem
from exitsearch.search.value import interruptible_value

# Cells of the table of estimates, 4 bytes each. More cells make a finer grid of delays and so fewer labels; at this
# size the table and the sweep take about the same time with 24 or 48 placements and 12 heads.
_CELLS = 20_000_000
_FINEST_GRID = 1024
_COARSEST_GRID = 32
# Added to every estimate for the rounding of float32, in units of the largest absolute value.
_FLOAT32 = 1e-5
# Subtracted from times at which an estimate is made, in units of the final exit's time, so that rounding in a sum of
# latencies never moves an estimate to the wrong side of a step of the survival.
_SLACK = 1e-9


@dataclass(frozen=True)
class Step:
    """The candidates of one placement that are worth more than no answer, or all where one must stand.

    Attributes:
        required: whether one of them must stand.
        positions: of the candidates in the problem.
        levels: position of each one's value in the table of values.
    """

    arrival_ms: float
    positions: tuple[int, ...]
    levels: tuple[int, ...]
    head_ms: tuple[float, ...]
    params: tuple[int, ...]
    memory: tuple[int, ...]
    energy: tuple[float, ...]
    required: bool


class InterruptibleSolver:
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
        self.values = np.unique(
            [problem.fallback, *(c.value for c in problem.candidates if c.value > problem.fallback)]
        )
        self.steps = self._steps()
        self.slack_ms = _SLACK * problem.final_ms
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

    def solve(self, limits: int | None) -> tuple[list[Choice | None], float]:
        """The best choice with at most 0, 1, ..., `limits` exits, or with any number of them.

        Args:
            limits: largest limit on the number of exits; None lifts the limit, and only one choice is returned.

        Returns:
            A choice for each limit (None where none keeps to all limits), and an upper bound of what was let go (minus
            infinity: nothing, so they are exact).
        """
        table = _Estimates(self, limits)
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
        floor = np.maximum.accumulate(
            [-np.inf if choice is None else interruptible_value(problem, choice) for choice in known]
        )
        labels, history, let_go = Labels.start(problem.fallback), History(), -np.inf
        labels.met = labels.met | floor_bits(problem, problem.fallback, 0.0)
        for index, step in enumerate(self.steps):
            parts = [labels]
            for position, level, head_ms, params, memory, energy in zip(
                step.positions, step.levels, step.head_ms, step.params, step.memory, step.energy, strict=True
            ):
                gains = self._gains(labels, step.arrival_ms, head_ms, level)
                rows: Bools = (gains > 0) | step.required
                if problem.floors:  # an answer may count for a floor where no budget of the distribution is
                    rows |= self.values[level] > self.values[labels.level]
                if limits is not None:
                    rows &= labels.count < limits
                if problem.max_params is not None:
                    rows &= labels.params + params <= problem.max_params
                if problem.max_memory_bytes is not None:
                    rows &= labels.memory + memory <= problem.max_memory_bytes
                if problem.heads_mj_left is not None:
                    rows &= labels.energy + energy <= problem.heads_mj_left
                if problem.max_heads_ms is not None:
                    rows &= labels.delay + head_ms <= problem.max_heads_ms
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
                more = more.take(table.promising(more, index + 1, floor))
                if len(more):
                    history.record(more, position)
                    parts.append(more)
            parts[0] = labels.take(table.promising(labels, index + 1, floor) & (not step.required))
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
            if len(labels) > self.most_labels:
                hope = table.hope(labels, index + 1)
                order = np.argsort(-hope, kind="stable")
                let_go = max(let_go, float(hope[order[self.most_labels]]))
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

    def _gains(self, labels: Labels, arrival_ms: float, head_ms: float, level: int) -> Array:
        """What one more exit adds to the expected value of each label; at most 0 where it is worth no more."""
        rise = self.values[level] - self.values[labels.level]
        gains = np.zeros(len(labels))
        rows = np.flatnonzero(rise > 0)
        gains[rows] = rise[rows] * self.problem.survival(arrival_ms + (labels.delay[rows] + head_ms))
        return gains

    def _rollout(self, table: _Estimates, limit: int) -> Choice:
        """A good choice: at every placement the step that the estimates promise most of."""
        label, choice, layer = Labels.start(self.problem.fallback), [], limit
        for index, step in enumerate(self.steps):
            skipped = float(table.gain(label, index + 1, np.array([layer]))[0])
            best, best_hope = None, -np.inf if step.required else skipped
            if layer != table.layers[layer] or table.free:
                for position, level, head_ms in zip(step.positions, step.levels, step.head_ms, strict=True):
                    gains = self._gains(label, step.arrival_ms, head_ms, level)
                    if gains[0] <= 0 and not step.required:
                        continue
                    more = label.extended(level=level, gain=gains, delay=head_ms, params=0)
                    after = table.gain(more, index + 1, np.array([table.layers[layer]]))
                    hope = float(gains[0] + after[0])
                    if hope > best_hope:
                        best, best_hope = (position, more), hope
            if best is not None:
                choice.append(best[0])
                label, layer = best[1], table.layers[layer]
        return tuple(choice)


class _Estimates:
    """What can still be gained after each step, never too little: [steps + 1][layers, values, delays].

    Layer r stands for at most r more exits; with `limits` None there is one layer without a limit.

    Attributes:
        layers: the layer to which one more exit leads from each layer.
    """

    def __init__(self, solver: InterruptibleSolver, limits: int | None) -> None:
        self.solver = solver
        self.free = limits is None
        self.layers = [0] if limits is None else [max(0, limit - 1) for limit in range(limits + 1)]
        problem, values, steps = solver.problem, solver.values, solver.steps
        cells = (len(steps) + 1) * len(values) * len(self.layers)
        count = int(np.clip(_CELLS // cells, _COARSEST_GRID, _FINEST_GRID))
        # No delay is longer than all heads together, and none matters beyond the longest budget.
        fastest = min(problem.slowdown, default=1.0)
        longest = min(sum(max(step.head_ms) for step in steps), problem.budget.quantile(0.999) / fastest)
        self.spacing_ms = max(longest, 1e-9) / (count - 1)
        delays = np.arange(count) * self.spacing_ms
        scale = float(np.abs([*values, problem.final_value]).max())
        self.extra = _FLOAT32 * scale
        rise = np.maximum(problem.final_value - values, 0.0)
        last = rise[:, None] * problem.survival(problem.final_ms + delays - solver.slack_ms)
        self.gains: list[NDArray[np.float32]] = [np.repeat(last[None], len(self.layers), 0).astype(np.float32)]
        for step in reversed(steps):
            after = self.gains[-1]
            now = after.copy()
            for level, head_ms in zip(step.levels, step.head_ms, strict=True):
                reached = problem.survival(step.arrival_ms + delays + head_ms - solver.slack_ms).astype(np.float32)
                moved = np.minimum(np.arange(count) + int(head_ms / self.spacing_ms), count - 1)
                gain = (values[level] - values[:level]).astype(np.float32)[:, None] * reached
                for layer, next_layer in enumerate(self.layers):
                    if self.free or layer:
                        option = gain + after[next_layer, level, moved]
                        np.maximum(now[layer, :level], option, out=now[layer, :level])
            self.gains.append(now)
        self.gains.reverse()

    def gain(self, labels: Labels, index: int, layers: NDArray[np.int64]) -> Array:
        """Estimated future gain of labels that stand before step `index`, in some layers."""
        delays = self.gains[index].shape[2]
        cell = np.minimum((labels.delay / self.spacing_ms).astype(np.int64), delays - 1)
        result: Array = self.gains[index][layers, labels.level, cell].astype(np.float64) + self.extra
        return result

    def hope(self, labels: Labels, index: int) -> Array:
        """The most that each label can come to with any number of exits allowed."""
        top = len(self.layers) - 1
        layers = np.zeros(len(labels), dtype=np.int64) if self.free else top - labels.count
        return labels.value + self.gain(labels, index, layers)

    def promising(self, labels: Labels, index: int, floor: Array) -> Bools:
        """Whether each label may still reach what is known already, for one of the limits at least."""
        if self.free:
            return np.asarray(self.hope(labels, index) >= floor[0])
        result = np.zeros(len(labels), dtype=np.bool_)
        for limit in range(len(self.layers)):
            rows = np.flatnonzero(labels.count <= limit)
            part = labels.take(rows)
            result[rows] |= part.value + self.gain(part, index, limit - part.count) >= floor[limit]
        return result
