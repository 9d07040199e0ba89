"""Rounds in which all are asked the same, by a clock that stands still unless somebody works."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from peers.asking import Peer, Reply, drawn_budgets, interleave

from exitsearch.specs.budget import parse_budget


class Clock:
    """Seconds that pass only while a peer works."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Busy(Peer):
    """Takes so many milliseconds and notes what it was asked."""

    def __init__(self, name, clock, takes_ms, log):
        self.name, self.words, self.megabytes = name, "", 1.0
        self._clock, self._takes_ms, self._log = clock, takes_ms, log

    def ask(self, sample, budget_ms):
        self._clock.now += self._takes_ms / 1e3
        self._log.append((self.name, sample, budget_ms))
        return Reply(np.zeros(2), self._takes_ms, 0)


class Waker(Busy):
    """Interrupts 0.5 ms after the budget that it is given."""

    strikes = True

    def ask(self, sample, budget_ms):
        super().ask(sample, budget_ms)
        return Reply(np.zeros(2), 1.0, 0, budget_ms=budget_ms + 0.5)


def asked(makers, *, seconds=1.0, budgets=(2.0,)):
    clock, log = Clock(), []
    peers = [make(name, clock, takes, log) for make, name, takes in makers]
    rounds = interleave(
        peers,
        itertools.cycle((ms, False) for ms in budgets),
        samples=50,
        seconds=seconds,
        rng=np.random.default_rng(0),
        clock=clock,
    )
    return rounds, log


def test_all_have_the_budget_at_which_the_interruption_struck():
    rounds, log = asked([(Busy, "a", 3.0), (Waker, "waker", 2.0), (Busy, "b", 5.0)])
    for round_, three in zip(rounds, by_three(log), strict=True):
        assert round_.drawn_ms == 2.0
        assert round_.budget_ms == 2.5
        assert three[0] == ("waker", round_.sample, 2.0)
        assert {name: budget for name, _, budget in three[1:]} == {"a": 2.5, "b": 2.5}
        assert {sample for _, sample, _ in three} == {round_.sample}
        assert set(round_.replies) == {"a", "b", "waker"}


def by_three(log):
    return [tuple(log[k : k + 3]) for k in range(0, len(log), 3)]


def test_nobody_always_follows_the_same_one():
    _, log = asked([(Busy, "a", 1.0), (Busy, "b", 1.0), (Busy, "c", 1.0)])
    firsts = {three[0][0] for three in by_three(log)}
    assert firsts == {"a", "b", "c"}


def test_without_an_interruption_budgets_are_as_drawn():
    rounds, _ = asked([(Busy, "a", 1.0)], budgets=(1.0, 7.0))
    assert [round_.budget_ms for round_ in rounds[:4]] == [1.0, 7.0, 1.0, 7.0]


def test_it_ends_when_the_time_has_passed_and_asks_at_least_once():
    assert len(asked([(Busy, "a", 125.0)], seconds=1.0)[0]) == 8
    assert len(asked([(Busy, "a", 5000.0)], seconds=1.0)[0]) == 1


def test_every_other_budget_is_a_fixed_one_in_turn():
    rng = np.random.default_rng(0)
    found = list(itertools.islice(drawn_budgets(parse_budget("uniform:10,20"), [1.0, 2.0], rng), 8))
    assert [ms for ms, is_fixed in found if is_fixed] == [1.0, 2.0, 1.0, 2.0]
    drawn = [ms for ms, is_fixed in found if not is_fixed]
    assert len(set(drawn)) == 4
    assert all(10 <= ms <= 20 for ms in drawn)


def test_without_fixed_budgets_all_are_drawn():
    found = list(itertools.islice(drawn_budgets(parse_budget("point:3"), [], np.random.default_rng(0)), 3))
    assert found == [(3.0, False)] * 3


def test_no_budget_is_one_that_a_session_refuses_to_read():
    ((ms, _),) = itertools.islice(
        drawn_budgets(parse_budget("uniform:0,0.0000000001"), [], np.random.default_rng(0)), 1
    )
    assert ms == pytest.approx(1e-6)
