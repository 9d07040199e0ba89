"""Deadlines beside a busy neighbour on the same core, drawn by a seed: what the correction is there for.

The scheduler gives each of two programs the core for about 3 ms in turn; whoever was idle begins within a turn of its
own. A request of 8.3 ms so loses 6 to 9 ms that no table of a quiet machine knows of.
"""

from __future__ import annotations

import numpy as np
import pytest
from timed_units import FakeClock, FakeUnits, table_of

from exitsearch.runtime.deadline import Plan
from exitsearch.runtime.policies import Contract
from exitsearch.runtime.slow_down import SlowDown
from exitsearch.runtime.work import Work

SEGMENTS, HEADS, VALUES = (2.0, 2.0, 2.0, 2.0), (0.1, 0.1, 0.1), (0.5, 0.6, 0.7, 0.8)
TURN_MS = 3.0


class SharedCore(FakeUnits):
    """Units on a core that a neighbour takes in turns while `busy`."""

    def __init__(self, clock, *, rng) -> None:
        super().__init__(clock, segments=SEGMENTS, heads=HEADS)
        self.rng, self.busy, self.left = rng, False, TURN_MS

    def wake(self) -> None:
        self.left = self.rng.uniform(0, TURN_MS)

    def _spend(self, name, ms, stop) -> None:
        work, passed = ms * self.rng.lognormal(0, 0.03), 0.0
        while self.busy and work > self.left:
            work -= self.left
            passed += self.left + self.rng.uniform(0.7, 1.3) * TURN_MS
            self.left = self.rng.uniform(0.7, 1.3) * TURN_MS
        self.left -= work
        self.clock.now += (passed + work) / 1e3


class Machine:
    """Requests that come every 5 ms or so with budgets between two bounds."""

    def __init__(self, *, seed, corrected) -> None:
        self.rng, self.clock = np.random.default_rng(seed), FakeClock()
        self.table = table_of(SEGMENTS, HEADS, late=1.08)
        self.slow_down = SlowDown(quantile=0.99, clock=self.clock)
        if not corrected:
            self.slow_down.observe = lambda *arguments, **options: None
        self.units = SharedCore(self.clock, rng=self.rng)

    def late_and_refused(self, *, requests, budgets, busy):
        """Share of the answers that came late, and of the requests that were refused."""
        self.units.busy, late, refused = busy, 0, 0
        for _ in range(requests):
            self.clock.now += self.rng.exponential(0.005)
            self.units.wake()
            budget = self.rng.uniform(*budgets)
            policy = Contract(VALUES, Plan(self.table, self.slow_down, budget_ms=budget))
            work = Work(
                self.units,
                policy,
                table=self.table,
                slow_down=self.slow_down,
                clock=self.clock,
                arrived=self.clock(),
                rows=1,
            )
            work.run(np.zeros((1, 1, 1, 1)))
            refused += work.best()[0] is None
            late += work.best()[0] is not None and work.spent_ms > budget
        return late / max(1, requests - refused), refused / requests


@pytest.mark.parametrize("budgets", [(4, 40), (10, 20), (8, 80)])
def test_with_the_correction_few_are_late_and_without_many(budgets):
    found = {}
    for corrected in (True, False):
        machine = Machine(seed=0, corrected=corrected)
        found[corrected] = machine.late_and_refused(requests=1000, budgets=budgets, busy=True)
    assert found[True][0] <= 0.03
    assert found[False][0] >= 3 * found[True][0]
    assert found[False][0] > 0.04
    assert found[True][1] < 0.15  # not by refusing


def test_on_a_quiet_machine_nothing_is_late_or_refused():
    machine = Machine(seed=1, corrected=True)
    assert machine.late_and_refused(requests=1000, budgets=(4, 40), busy=False) == (0.0, 0.0)


def test_when_the_load_has_gone_all_is_as_before():
    """Budgets of 3 ms, refused beside the neighbour, are all in time again a minute after it has gone."""
    machine = Machine(seed=2, corrected=True)
    machine.late_and_refused(requests=500, budgets=(4, 40), busy=True)
    assert machine.late_and_refused(requests=100, budgets=(3, 3.5), busy=True)[1] > 0.1
    machine.clock.now += 60
    assert machine.slow_down.pace < 1.01
    assert machine.slow_down.delay_ms <= 0.0
    assert machine.late_and_refused(requests=500, budgets=(3, 3.5), busy=False) == (0.0, 0.0)
