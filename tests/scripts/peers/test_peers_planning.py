"""Times that are measured before a run, and how a slow machine shrinks budgets."""

from __future__ import annotations

import numpy as np
import pytest
from peers.planning import Correction, interleaved_times, times_of

from exitsearch.runtime.deadline import Times


def test_median_and_the_99th_percentile():
    found = times_of(list(range(101)))
    assert found == Times(50.0, 99.0)


def test_calls_are_timed_in_turns():
    now, log = [0.0], []

    def call(name, ms):
        def run(sample):
            log.append(name)
            now[0] += ms / 1e3

        return run

    found = interleaved_times(
        {"a": call("a", 1000 / 1024), "b": call("b", 3000 / 1024)},
        samples=7,
        seconds=25 / 256,
        rng=np.random.default_rng(0),
        clock=lambda: now[0],
    )
    assert found["a"] == pytest.approx([1000 / 1024] * 25)
    assert found["b"] == pytest.approx([3000 / 1024] * 25)
    assert log[:10] == ["a"] * 5 + ["b"] * 5  # warm-up
    rounds = [tuple(log[10 + 2 * k : 12 + 2 * k]) for k in range(25)]
    assert set(rounds) == {("a", "b"), ("b", "a")}


def test_a_quiet_machine_leaves_budgets_as_they_are():
    correction = Correction(Times(10.0, 12.0), clock=lambda: 0.0)
    for _ in range(50):
        correction.observe(10.0, median_ms=10.0)
    assert correction.within(20.0) == 20.0


def test_a_slow_machine_shrinks_them_as_a_plan_would_grow():
    """After 6 requests of 20 ms where 10 are usual the pace is 140 / 80 and the delay 20 - 17.5 ms: what takes 10 ms as
    a rule, and 12 at the quantile, is planned with 20."""
    correction = Correction(Times(10.0, 12.0), clock=lambda: 0.0)
    for _ in range(6):
        correction.observe(20.0, median_ms=10.0)
    assert correction.within(20.01) >= 12.0
    assert correction.within(19.99) < 12.0
