"""earlyon's configurations, valued by hand; the package is not needed."""

from __future__ import annotations

import numpy as np
import pytest
from peers.settings import Setting, Settings, StageTimes, Table, forced

from exitsearch.runtime.deadline import Times
from exitsearch.specs.budget import parse_budget

# Four samples of class 0; the exit is sure of the first two, and wrong about the second.
EARLY = np.array([[3.0, 0.0], [0.0, 3.0], [0.2, 0.0], [0.0, 0.2]], dtype=np.float32)
FINAL = np.array([[2.0, 0.0]] * 4, dtype=np.float32)
LABELS = np.zeros(4, dtype=np.int64)
TIMES = StageTimes(alone=(Times(1.0, 2.0), Times(5.0, 6.0)), behind_all=(Times(1.0, 2.0), Times(5.5, 7.0)))
SURE = Setting((True,), (0.9,), (1.0,))


def made(settings):
    return Settings(settings, outputs=[EARLY, FINAL], labels=LABELS, times=TIMES)


def test_inputs_leave_where_they_are_sure_enough():
    """softmax of (3, 0) is 0.9526, of (0.2, 0) 0.5498; at a temperature of 3 the former is 0.7311."""
    assert SURE.leaves(0, EARLY).tolist() == [True, True, False, False]
    assert Setting((True,), (0.9,), (3.0,)).leaves(0, EARLY).tolist() == [False] * 4
    assert Setting((True,), (0.73,), (3.0,)).leaves(0, EARLY).tolist() == [True, True, False, False]
    assert Setting((False,), (0.0,), (1.0,)).leaves(0, EARLY).tolist() == [False] * 4


def test_every_input_at_one_exit():
    assert [setting.enabled for setting in forced(2)] == [(True, False), (False, True), (False, False)]
    assert all(forced(2)[k].leaves(k, EARLY).all() for k in range(2))


def test_heads_on_the_way_take_their_share():
    times = StageTimes((Times(1, 1), Times(2, 2), Times(3.0, 4.0)), (Times(1, 1), Times(2, 2), Times(5.0, 8.0)))
    assert times.of(Setting((False, False), (0, 0), (1, 1)), 2) == Times(3.0, 4.0)
    assert times.of(Setting((True, False), (0, 0), (1, 1)), 2) == Times(4.0, 6.0)
    assert times.of(Setting((True, True), (0, 0), (1, 1)), 2) == Times(5.0, 8.0)
    assert times.of(Setting((True, True), (0, 0), (1, 1)), 0) == Times(1.0, 1.0)


def test_what_a_configuration_does_to_samples():
    """Sure: two leave at once, one of them right; two go on, both right then."""
    found = made([SURE, *forced(1)])
    assert found.shares.tolist() == [[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]
    assert found.right.tolist() == [[0.25, 0.5], [0.5, 0.0], [0.0, 1.0]]
    assert found.median_ms.tolist() == [[1.0, 5.5], [1.0, 5.5], [1.0, 5.0]]
    assert found.late_ms.tolist() == [[2.0, 7.0], [2.0, 7.0], [2.0, 6.0]]


def test_the_best_for_all_budgets():
    """Of budgets from 0 to 4 only the exit is reached: leaving there always is best; of those to 100 the final one."""
    found = made([SURE, *forced(1)])
    assert found.best_for(parse_budget("uniform:0,4")) == 1
    assert found.best_for(parse_budget("uniform:0,100")) == 2
    # Where both count, 0.25 G(1) + 0.5 G(5.5) against 0.5 G(1) and 1.0 G(5): 0.65, 0.5 and 0.8 at 70% of 5.5.
    assert found.best_for(parse_budget("discrete:3@0.6,9@0.4")) == 1


def test_the_best_for_each_budget():
    """From 2 ms on the exit always (0.5 in time); from 6 ms on the final one always (1.0)."""
    found = made([SURE, *forced(1)])
    table = found.by_budget()
    assert [table.at(ms) for ms in (1.9, 2.0, 5.9, 6.0, 50.0)] == [None, 1, 1, 2, 2]


def test_of_equal_values_more_in_time_and_then_the_quicker():
    """Sample 2 alone, right at both: leaving at once is as good as the end, and quicker."""
    found = Settings(forced(1)[::-1], outputs=[EARLY[:1], FINAL[:1]], labels=LABELS[:1], times=TIMES)
    assert found.by_budget().at(10.0) == 1


def test_one_for_all_is_refused_only_where_it_cannot_answer():
    found = made([SURE, *forced(1)])
    assert found.only(0) == Table((2.0,), (0,))
    assert found.only(2) == Table((6.0,), (2,))
    assert found.only(2).at(5.9) is None


def test_value_within_counts_what_is_in_time():
    assert made([SURE, *forced(1)]).value_within(6.5).tolist() == pytest.approx([0.25, 0.5, 1.0])
