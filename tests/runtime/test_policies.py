"""What each policy runs, in order, over units of known times; nothing waits for a clock."""

from __future__ import annotations

import numpy as np
import pytest
from timed_units import FakeClock, FakeUnits, run_work, table_of

from exitsearch.runtime.deadline import Plan
from exitsearch.runtime.policies import Confident, Contract, Interruptible
from exitsearch.runtime.slow_down import SlowDown
from exitsearch.runtime.work import Work

SEGMENTS, HEADS = [10.0, 20.0, 30.0], [1.0, 2.0]
VALUES = (0.5, 0.7, 0.9)


def prepared(*, budget_ms=None, values=VALUES, slower=(), outputs=None, rows=1, late=1.0, batch_size=1):
    clock = FakeClock()
    table = table_of(SEGMENTS, HEADS, late=late, batch_size=batch_size)
    slow = SlowDown(quantile=0.99, clock=clock)
    units = FakeUnits(clock, segments=SEGMENTS, heads=HEADS, slower=slower, outputs=outputs)
    return units, table, slow, Plan(table, slow, budget_ms=budget_ms, rows=rows)


def contract(**asked):
    units, table, slow, plan = prepared(**asked)
    work = run_work(units, Contract(asked.get("values", VALUES), plan), table, slow_down=slow)
    return units.log, work.best()[0], slow


@pytest.mark.parametrize(
    ("budget_ms", "ran", "exit_"),
    [
        (None, ["segment 0", "segment 1", "segment 2"], 2),
        (60.0, ["segment 0", "segment 1", "segment 2"], 2),
        (59.9, ["segment 0", "segment 1", "head 1"], 1),
        (32.0, ["segment 0", "segment 1", "head 1"], 1),
        (31.9, ["segment 0", "head 0"], 0),
        (11.0, ["segment 0", "head 0"], 0),
        (10.9, [], None),
    ],
)
def test_a_contract_runs_one_head_that_of_the_best_exit_in_time(budget_ms, ran, exit_):
    """Exits answer at 10 + 1, 10 + 20 + 2 and 10 + 20 + 30 ms."""
    log, best, _ = contract(budget_ms=budget_ms)
    assert log == ran
    assert (best.exit if best else None) == exit_


def test_a_contract_plans_by_the_quantile():
    """By p99, half as much again, exit 0 takes 16.5 ms; behind segment 0, which took 10, exit 1 takes 33 more."""
    assert contract(budget_ms=16.4, late=1.5)[0] == []
    assert contract(budget_ms=42.9, late=1.5)[1].exit == 0
    assert contract(budget_ms=43.1, late=1.5)[1].exit == 1


def test_time_lost_on_the_way_buys_an_earlier_exit():
    """Planned for the final exit; segment 0 takes 35 in place of 10 ms, so 30 of 65 are left: enough for exit 1."""
    log, best, slow = contract(budget_ms=65.0, slower=[3.5])
    assert log == ["segment 0", "segment 1", "head 1"]
    assert best.spent_ms == pytest.approx(57.0)
    assert slow.pace > 1.0


def test_time_saved_on_the_way_buys_a_later_exit():
    """With p99 twice the median the final exit takes 120 ms, too long for 110; after 10 ms there are 100 of 100."""
    log, best, _ = contract(budget_ms=110.0, late=2.0)
    assert best.exit == 2
    assert "head 0" not in log


def test_a_late_answer_is_given_all_the_same_and_by_the_shortest_way():
    log, best, _ = contract(budget_ms=20.0, slower=[5.0])
    assert log == ["segment 0", "head 0"]
    assert best.spent_ms == pytest.approx(51.0)


def test_a_contract_takes_the_best_exit_not_the_latest():
    """Where the final exit is worse than the one before, it is not run even where there is time."""
    log, best, _ = contract(budget_ms=1000.0, values=(0.5, 0.9, 0.7))
    assert best.exit == 1
    assert log[-1] == "head 1"


def test_of_equal_exits_the_earliest_answers():
    assert contract(budget_ms=1000.0, values=(0.7, 0.7, 0.7))[0] == ["segment 0", "head 0"]


def test_interruptible_runs_every_head_and_keeps_the_best_by_value():
    units, table, slow, plan = prepared()
    work = run_work(units, Interruptible((0.5, 0.9, 0.7), plan), table, slow_down=slow)
    assert units.log == ["segment 0", "head 0", "segment 1", "head 1", "segment 2"]
    assert work.best()[0].exit == 1
    assert work.best()[0].spent_ms == pytest.approx(33.0)


def test_what_is_ended_keeps_what_it_has():
    units, table, slow, plan = prepared()
    policy = Interruptible(VALUES, plan)
    works = []
    units.before["segment 1"] = lambda: works[0].end()
    work = Work(units, policy, table=table, slow_down=slow, clock=units.clock, arrived=0.0, rows=1)
    works.append(work)
    work.run(np.zeros((1, 1, 1, 1)))
    assert units.log == ["segment 0", "head 0"]
    assert work.best()[0].exit == 0
    assert slow.pace == 1.0  # what was cut off is not taken for slow


def confident(thresholds, *, score="softmax", temperatures=(1.0, 1.0), **asked):
    units, table, slow, plan = prepared(**asked)
    policy = Confident(VALUES, plan, thresholds=thresholds, score=score, temperatures=temperatures)
    work = run_work(units, policy, table, rows=plan.rows, slow_down=slow)
    return units.log, work.best()


# Logits of four inputs at three exits: input 0 is sure at once, 1 at exit 1, 2 never; 3 as 0.
SURE, UNSURE = [9.0, 0.0, 0.0], [0.1, 0.0, 0.0]
OUTPUTS = np.array([[SURE, UNSURE, UNSURE, SURE], [SURE, SURE, UNSURE, SURE], [UNSURE] * 4])


def test_an_input_leaves_where_it_is_sure():
    log, best = confident([0.9, 0.9], outputs=OUTPUTS[:, :1])
    assert log == ["segment 0", "head 0"]
    assert best[0].exit == 0
    log, best = confident([0.9, 0.9], outputs=OUTPUTS[:, 2:3])
    assert log == ["segment 0", "head 0", "segment 1", "head 1", "segment 2"]
    assert best[0].exit == 2


def test_in_a_batch_each_leaves_where_it_is_sure_and_the_others_go_on():
    _, best = confident([0.9, 0.9], outputs=OUTPUTS, rows=4)
    assert [one.exit for one in best] == [0, 1, 2, 0]
    assert best[1].outputs.tolist() == SURE
    assert best[2].outputs.tolist() == pytest.approx(UNSURE)


def test_the_answer_of_a_less_valued_final_exit_counts_where_nothing_was_sure():
    units, table, slow, plan = prepared(outputs=OUTPUTS[:, 2:3])
    policy = Confident((0.9, 0.8, 0.1), plan, thresholds=[0.9, 0.9], score="softmax", temperatures=(1.0, 1.0))
    assert run_work(units, policy, table, slow_down=slow).best()[0].exit == 2


def test_a_head_that_is_off_is_not_run():
    log, best = confident([None, 0.9], outputs=OUTPUTS[:, :1])
    assert log == ["segment 0", "segment 1", "head 1"]
    assert best[0].exit == 1


def test_with_a_deadline_the_best_finished_answer_counts_when_the_next_would_be_late():
    """Exit 0 at 11, exit 1 at 33 ms: with 32 ms an input that is not sure stops at exit 0."""
    log, best = confident([0.9, 0.9], outputs=OUTPUTS[:, 2:3], budget_ms=32.9)
    assert log == ["segment 0", "head 0"]
    assert best[0].exit == 0
    assert confident([0.9, 0.9], outputs=OUTPUTS[:, 2:3], budget_ms=33.1)[1][0].exit == 1


def test_with_a_deadline_a_head_that_is_off_answers_where_no_other_can():
    """Exit 0 is off and exit 1 would answer at 32 ms, too late for 20."""
    log, best = confident([None, 0.9], outputs=OUTPUTS[:, :1], budget_ms=20.0)
    assert log == ["segment 0", "head 0"]
    assert best[0].exit == 0
    assert confident([None, 0.9], outputs=OUTPUTS[:, :1], budget_ms=10.5) == ([], [None])


def test_a_head_that_is_off_answers_where_time_was_lost_on_the_way():
    log, best = confident([None, 0.9], outputs=OUTPUTS[:, :1], budget_ms=40.0, slower=[2.5])
    assert log == ["segment 0", "head 0"]
    assert best[0].exit == 0


def test_the_rest_of_a_batch_is_planned_as_smaller():
    """Four inputs take four times as long in the plan: behind exit 0, at 11 ms, exit 1 would take 88 of them, 44 of the
    two that stay. The last one then has 27 ms for 30."""
    log, best = confident([0.9, 0.9], outputs=OUTPUTS, rows=4, budget_ms=60.0)
    assert log == ["segment 0", "head 0", "segment 1", "head 1"]
    assert [one.exit for one in best] == [0, 1, 1, 0]


def test_patience_leaves_after_answers_in_a_row_that_agree():
    """Classes 0, 0, 0: exit 1 is the first that agrees once; with threshold 2 it takes the final exit."""
    log, best = confident([1.0, 1.0], score="patience", outputs=OUTPUTS[:, 2:3])
    assert best[0].exit == 1
    assert confident([2.0, 2.0], score="patience", outputs=OUTPUTS[:, 2:3])[1][0].exit == 2
    log, best = confident([None, 1.0], score="patience", outputs=OUTPUTS[:, 2:3])
    assert "head 0" in log  # it counts for those after it
    assert best[0].exit == 1


def test_patience_begins_again_after_an_answer_that_differs():
    outputs = np.array([[[9.0, 0.0]], [[0.0, 9.0]], [[0.0, 9.0]]])
    assert confident([1.0, 1.0], score="patience", outputs=outputs)[1][0].exit == 2


def test_temperatures_are_each_exits_own():
    """Logits (9, 0, 0) at temperature 20: the largest probability is e^0.45 / (e^0.45 + 2) = 0.44."""
    assert confident([0.45, 0.9], temperatures=(20.0, 1.0), outputs=OUTPUTS[:, :1])[1][0].exit == 1
    assert confident([0.43, 0.9], temperatures=(20.0, 1.0), outputs=OUTPUTS[:, :1])[1][0].exit == 0
