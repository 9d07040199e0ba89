from __future__ import annotations

import pytest

from exitsearch.measure.timing.clock import HostClock
from exitsearch.measure.timing.warm_up import warm_up


class Machine:
    """Rounds that take given times; `log` keeps them."""

    def __init__(self, round_ms):
        self.ms, self.round_ms, self.log = 0.0, round_ms, []
        self.clock = HostClock(now_ns=lambda: round(self.ms * 1e6))

    def one_round(self):
        self.log.append(self.round_ms(self.ms))
        self.ms += self.log[-1]
        return self.log[-1]


def test_at_least_a_fifth_of_a_second():
    """Rounds of 16 ms: the 13th ends at 208 ms, the first beyond 200."""
    machine = Machine(lambda ms: 16.0)
    assert warm_up(machine.one_round, machine.clock) == pytest.approx(0.208)
    assert len(machine.log) == 13


def test_at_least_the_rounds_asked_for_and_those_that_a_running_median_needs():
    for fewest, rounds in ((1, 6), (9, 9)):
        machine = Machine(lambda ms: 100.0)
        warm_up(machine.one_round, machine.clock, fewest_rounds=fewest)
        assert len(machine.log) == rounds


def test_until_the_running_median_is_flat():
    """10% slower in the first second: of the last twenty rounds, later and earlier half must agree."""
    machine = Machine(lambda ms: 11.0 if ms < 1000 else 10.0)
    assert warm_up(machine.one_round, machine.clock) > 0.2
    machine = Machine(lambda ms: 20.0 - ms / 100 if ms < 1000 else 10.0)
    assert warm_up(machine.one_round, machine.clock) > 1.0
    assert set(machine.log[-5:]) == {10.0}


def test_a_machine_that_never_settles_is_not_waited_for():
    machine = Machine(lambda ms: 10.0 + ms / 100)
    assert 3.0 <= warm_up(machine.one_round, machine.clock) < 3.1
