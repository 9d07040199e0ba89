"""The loop that asks: what budgets requests had, and how ways of asking take turns; sessions and clocks are fake."""

from __future__ import annotations

import numpy as np
import pytest

from exitsearch.deploy.verify import asking, observe
from exitsearch.runtime import Answer
from exitsearch.specs.budget import parse_budget


class FakeClock:
    """Seconds that pass when somebody says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class FakeStarted:
    """Work that is finished after so many ms; whoever waits for it wakes `late_ms` after the time that was asked."""

    def __init__(self, session):
        self.session, self.is_ended = session, False

    def wait(self, timeout_s=None):
        session = self.session
        if timeout_s is None:
            session.log.append("ended")
            return True
        left = session.finished_at - session.clock.now
        session.clock.now += min(left, timeout_s) if left <= timeout_s else timeout_s + session.late_ms / 1e3
        return left <= timeout_s

    def answer(self):
        self.session.log.append("taken")
        return Answer(status="ok", time_ms=1.0, exit=0, label=3)


class FakeSession:
    """Answers by a clock that it moves."""

    def __init__(self, clock, *, takes_ms=10.0, late_ms=0.0, status="ok"):
        self.clock, self.takes_ms, self.late_ms, self.status = clock, takes_ms, late_ms, status
        self.log = []

    def start(self, x, *, arrived=None):
        self.finished_at = arrived + self.takes_ms / 1e3
        return FakeStarted(self)

    def predict(self, x, *, budget_ms=None, mean_budget_ms=None, arrived=None):
        self.log.append(("budget", budget_ms, "mean", mean_budget_ms))
        self.clock.now += self.takes_ms / 1e3
        answered = None if self.status == "refused" else 0
        return Answer(status=self.status, time_ms=self.takes_ms, exit=answered)


X = np.zeros((1, 2, 2), dtype=np.float32)


@pytest.mark.parametrize(
    ("takes_ms", "late_ms", "had"),
    [
        (10.0, 0.0, 4.0),  # it strikes in time
        (10.0, 2.5, 6.5),  # it strikes late: that is the budget that the request had
        (3.0, 2.5, 4.0),  # everything is finished before it strikes
    ],
)
def test_the_budget_of_an_interrupted_request_is_when_it_struck(takes_ms, late_ms, had):
    clock = FakeClock()
    session = FakeSession(clock, takes_ms=takes_ms, late_ms=late_ms)
    answer, budget_ms = asking(session, "interruptible", clock=clock)(X, 4.0)
    assert budget_ms == pytest.approx(had)
    assert answer.label == 3
    assert session.log == ["taken", "ended"]  # and nothing runs on


@pytest.mark.parametrize(
    ("policy", "log"),
    [("contract", ("budget", 4.0, "mean", None)), ("confidence", ("budget", None, "mean", 4.0))],
)
def test_a_known_budget_is_given(policy, log):
    clock = FakeClock()
    session = FakeSession(clock)
    assert asking(session, policy, clock=clock)(X, 4.0)[1] == 4.0
    assert session.log == [log]


def observed(clock, sessions, *, seconds=0.1, budget="uniform:2,6", seed=0, **options):
    asks = {name: asking(session, "contract", clock=clock) for name, session in sessions.items()}
    return observe(
        asks,
        [X, X, X],
        parse_budget(budget),
        worth=lambda sample, answer: -1.0 if answer.exit is None else float(sample),
        seconds=seconds,
        rng=np.random.default_rng(seed),
        clock=clock,
        **options,
    )


def test_every_way_of_asking_is_asked_the_same_in_turns():
    clock, order = FakeClock(), []
    sessions = {name: FakeSession(clock) for name in ("a", "b")}
    for name, session in sessions.items():
        session.log = order
        predict = session.predict
        session.predict = lambda x, predict=predict, name=name, **options: (order.append(name), predict(x, **options))[
            1
        ]
    found = observed(clock, sessions)
    names = [entry for entry in order if isinstance(entry, str)]
    assert names == ["b", "a", "a", "b"] * 2 + ["b", "a"]  # 5 pairs of 20 ms
    assert [(r.sample, r.drawn_ms) for r in found["a"]] == [(r.sample, r.drawn_ms) for r in found["b"]]
    assert all(2 <= request.drawn_ms <= 6 for request in found["a"])
    assert {request.value for request in found["a"]} == {float(request.sample) for request in found["a"]}


def test_it_asks_at_least_once_and_a_budget_of_nothing_is_no_fault():
    clock = FakeClock()
    (request,) = observed(clock, {"a": FakeSession(clock)}, seconds=1e-6, budget="point:0")["a"]
    assert 0 < request.budget_ms < 1e-3
    assert request.late_ms == pytest.approx(10.0, abs=1e-3)


def test_a_pause_comes_before_every_request():
    clock, rests = FakeClock(), []

    def rest(seconds):
        rests.append(seconds)
        clock.now += seconds

    found = observed(clock, {"a": FakeSession(clock)}, rest=rest, pause_s=0.04)
    assert rests == [0.04, 0.04]
    assert len(found["a"]) == 2


def test_what_a_pause_costs_is_kept_of_every_request():
    clock, extras = FakeClock(), iter(range(100))
    found = observed(clock, {"a": FakeSession(clock)}, seconds=0.05, extra=lambda: float(next(extras)))
    assert [request.extra_ms for request in found["a"]] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_refusal_is_not_late():
    clock = FakeClock()
    found = observed(clock, {"a": FakeSession(clock, status="refused")})["a"]
    assert {(request.status, request.late_ms, request.value) for request in found} == {("refused", 0.0, -1.0)}


def test_a_refusal_takes_its_budget_before_the_next_request_comes():
    """A refusal takes 1 ms of 40; without the rest a second would hold 1000 refusals and hardly an answer."""
    clock, rests = FakeClock(), []

    def rest(seconds):
        rests.append(seconds)
        clock.now += seconds

    session = FakeSession(clock, takes_ms=1.0, status="refused")
    found = observe(
        {"a": asking(session, "contract", clock=clock)},
        [np.zeros((1, 2, 2))],
        parse_budget("point:40"),
        worth=lambda sample, answer: 0.0,
        seconds=1.0,
        rng=np.random.default_rng(0),
        clock=clock,
        rest=rest,
    )
    assert len(found["a"]) == 25
    assert rests == pytest.approx([0.039] * 25)
