"""Which of earlyon's configurations answers best: for all budgets of a distribution, or for each.

A configuration says of every exit whether it may be left at, from which confidence on, and its temperature. earlyon's
calibrators hold an average of operations; with measured times, what one is worth within a budget follows from how its
samples leave on the choice split. Arithmetic alone: nothing here needs the package.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitsearch.runtime.deadline import Times
from exitsearch.specs.budget import BudgetDistribution

Array = NDArray[Any]


@dataclass(frozen=True)
class Setting:
    """One configuration.

    Attributes:
        enabled: of every exit but the final one, whether its head is run.
        thresholds: of the same: an input leaves from this confidence on.
        temperatures: of the same, by which outputs are divided before the softmax.
    """

    enabled: tuple[bool, ...]
    thresholds: tuple[float, ...]
    temperatures: tuple[float, ...]

    def leaves(self, exit_: int, outputs: Array) -> Array:
        """Which rows of outputs [samples, classes] leave at an exit, as earlyon decides it."""
        if not self.enabled[exit_]:
            return np.zeros(len(outputs), dtype=np.bool_)
        scaled = outputs / np.float32(self.temperatures[exit_])
        shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        confidence = shares.max(axis=1) / shares.sum(axis=1)
        return np.asarray(confidence.astype(np.float64) >= self.thresholds[exit_])


def forced(exits: int) -> list[Setting]:
    """Every input leaves at one and the same exit, no other head being run; last at the final one."""
    none = (False,) * exits
    only = [tuple(k == exit_ for k in range(exits)) for exit_ in range(exits)]
    return [Setting(enabled, (0.0,) * exits, (1.0,) * exits) for enabled in (*only, none)]


@dataclass(frozen=True)
class StageTimes:
    """How long it takes until an exit has answered.

    Attributes:
        alone: no other head is run; the final exit last.
        behind_all: every head before it is run.
    """

    alone: tuple[Times, ...]
    behind_all: tuple[Times, ...]

    def of(self, setting: Setting, exit_: int) -> Times:
        """Under a configuration: heads before it count alike."""
        share = sum(setting.enabled[:exit_]) / exit_ if exit_ else 0.0
        low, high = self.alone[exit_], self.behind_all[exit_]
        return Times(*(a + share * (b - a) for a, b in ((low.median, high.median), (low.late, high.late))))


class Settings:
    """Configurations and what each does to the choice split.

    Args:
        settings: from one on.
        outputs: of every exit, the final one last, each [samples, classes].
        labels: [samples].
        times: of the stages.
    """

    def __init__(
        self, settings: Sequence[Setting], *, outputs: Sequence[Array], labels: Array, times: StageTimes
    ) -> None:
        self.settings, self.times = list(settings), times
        right = np.stack([rows.argmax(axis=1) == labels for rows in outputs])
        left = [self._left(setting, outputs) for setting in self.settings]
        exits = range(len(outputs))
        # [settings, exits]: share of the samples that leave there, and that do so with the right answer.
        self.shares = np.array([[float((at == k).mean()) for k in exits] for at in left])
        self.right = np.array([[float(((at == k) & right[k]).mean()) for k in exits] for at in left])
        ways = [[times.of(setting, k) for k in exits] for setting in self.settings]
        self.median_ms = np.array([[way.median for way in row] for row in ways])
        self.late_ms = np.array([[way.late for way in row] for row in ways])

    @staticmethod
    def _left(setting: Setting, outputs: Sequence[Array]) -> Array:
        last = len(outputs) - 1
        at = np.full(len(outputs[0]), last)
        for exit_ in reversed(range(last)):
            at[setting.leaves(exit_, outputs[exit_])] = exit_
        return at

    def value_within(self, budget_ms: float) -> Array:
        """Share of samples with the right answer in time at p99, of every configuration [settings]."""
        return np.asarray((self.right * (self.late_ms <= budget_ms)).sum(axis=1))

    def best_for(self, budget: BudgetDistribution) -> int:
        """The configuration that is worth most over all budgets, by median times."""
        chances = np.asarray(budget.survival(self.median_ms.ravel())).reshape(self.median_ms.shape)
        return int((self.right * chances).sum(axis=1).argmax())

    def by_budget(self) -> Table:
        """The best configuration for every budget: of equal ones the one that is in time more often, then earlier."""
        steps = sorted(set(self.late_ms[self.shares > 0].tolist()))
        mean_ms = (self.shares * self.median_ms).sum(axis=1)
        chosen = []
        for step in steps:
            values = self.value_within(step)
            in_time = (self.shares * (self.late_ms <= step)).sum(axis=1)
            # The last key decides first; what is worth as much to nine digits is worth as much.
            chosen.append(int(np.lexsort((mean_ms, -in_time.round(9), -values.round(9)))[0]))
        return Table(tuple(steps), tuple(chosen))

    def only(self, number: int) -> Table:
        """One configuration for all budgets, from the first on within which it can answer at all."""
        return Table((float(self.late_ms[number][self.shares[number] > 0].min()),), (number,))


@dataclass(frozen=True)
class Table:
    """Numbers of configurations by budget.

    Attributes:
        from_ms: from this budget on, rising.
        numbers: of the configurations.
    """

    from_ms: tuple[float, ...]
    numbers: tuple[int, ...]

    def at(self, budget_ms: float) -> int | None:
        """The one for a budget; None: none is in time."""
        place = bisect.bisect_right(self.from_ms, budget_ms) - 1
        return None if place < 0 else self.numbers[place]
