"""What a pause costs, by hand and by a clock that is moved by hand."""

from __future__ import annotations

import numpy as np
import pytest
from timed_units import FakeClock, FakeUnits, table_of

from exitsearch.runtime.deadline import Plan
from exitsearch.runtime.pauses import Pauses, extra_after
from exitsearch.runtime.policies import Contract
from exitsearch.runtime.slow_down import SlowDown
from exitsearch.runtime.work import Work

MEASURED = ((1.0, 0.1), (3.0, 0.3), (10.0, 0.5))


@pytest.mark.parametrize(
    ("pause_ms", "extra_ms"), [(0.0, 0.0), (0.5, 0.05), (1.0, 0.1), (2.0, 0.2), (6.5, 0.4), (10.0, 0.5), (1e6, 0.5)]
)
def test_between_two_pauses_it_is_in_proportion(pause_ms, extra_ms):
    assert extra_after(MEASURED, pause_ms) == pytest.approx(extra_ms)


def test_where_nothing_was_measured_nothing_is_added():
    assert extra_after((), 10.0) == 0.0


def test_a_pause_begins_when_the_last_of_those_that_run_has_ended():
    clock = FakeClock()
    pauses = Pauses(MEASURED, clock=clock)
    clock.now += 0.002
    assert pauses.extra_ms == pytest.approx(0.2)
    with pauses:
        with pauses:
            clock.now += 1.0
        clock.now += 1.0
        assert pauses.extra_ms == 0.0
    assert pauses.extra_ms == 0.0
    clock.now += 0.003
    assert pauses.extra_ms == pytest.approx(0.3)


def ask(clock, pauses, slow_down, *, budget_ms, extra_ms):
    """One request of 1 ms that takes so much longer in truth; its work."""
    table = table_of([1.0], [])
    units = FakeUnits(clock, segments=[1.0 + extra_ms], heads=[])
    policy = Contract((1.0,), Plan(table, slow_down, budget_ms=budget_ms, extra_ms=pauses.extra_ms))
    work = Work(units, policy, table=table, slow_down=slow_down, clock=clock, arrived=clock(), rows=1, pauses=pauses)
    work.run(np.zeros((1, 1, 1, 1)))
    return work


def test_what_a_pause_costs_is_no_slowness_of_the_machine():
    """A camera's frames, 33 ms apart, take 1.5 ms in place of 1, as they were measured to."""
    clock = FakeClock()
    pauses, slow_down = Pauses(MEASURED, clock=clock), SlowDown(quantile=0.99, clock=clock)
    for _ in range(200):
        clock.now += 0.033
        assert ask(clock, pauses, slow_down, budget_ms=1.51, extra_ms=0.5).best()[0] is not None
    pace, delay_ms = slow_down.now()
    assert pace == pytest.approx(1.0)
    assert delay_ms <= 1e-9


def test_a_request_that_is_refused_ends_no_pause():
    clock = FakeClock()
    pauses, slow_down = Pauses(MEASURED, clock=clock), SlowDown(quantile=0.99, clock=clock)
    clock.now += 0.010
    assert ask(clock, pauses, slow_down, budget_ms=1.4, extra_ms=0.5).best() == [None]
    assert pauses.extra_ms == 0.5
    assert slow_down.now()[0] == 1.0
