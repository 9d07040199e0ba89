"""The plan, by hand."""

from __future__ import annotations

import math

import pytest
from timed_units import FakeClock, table_of

from exitsearch.runtime.deadline import Plan, Times
from exitsearch.runtime.slow_down import SlowDown


def test_a_way_is_the_sum_of_what_is_left_of_it():
    """Segments 1, 2, 4 ms with heads 0.5 and 0.25 ms, p99 a tenth more: to exit 1 from the start 1 + 2 + 0.25."""
    table = table_of([1.0, 2.0, 4.0], [0.5, 0.25], late=1.1)
    assert table.way(done=0, to=1) == Times(3.25, pytest.approx(3.575))
    assert table.way(done=1, to=1) == Times(2.25, pytest.approx(2.475))
    assert table.way(done=2, to=1) == Times(0.25, pytest.approx(0.275))
    assert table.way(done=0, to=2) == Times(7.0, pytest.approx(7.7))  # the final exit has no head
    assert table.way(done=1, to=1, head=False).median == 2.0


def test_a_plan_is_the_quantile_with_what_the_pace_adds_and_the_delay():
    """12 + (1.5 - 1) * 10 + 4 = 21; with a delay below 0 the quantile and the median at the pace are the least."""
    assert Times(10.0, 12.0).planned() == 12.0
    assert Times(10.0, 12.0).planned(pace=1.5, delay_ms=4.0) == 21.0
    assert Times(10.0, 12.0).planned(pace=1.5, delay_ms=-1.0) == 16.0
    assert Times(10.0, 12.0).planned(pace=1.5, delay_ms=-3.0) == 15.0
    assert Times(10.0, 12.0).planned(pace=1.1, delay_ms=-3.0) == 12.0
    assert Times(10.0, 12.0).planned(pace=1.5, delay_ms=-math.inf) == 15.0


def test_a_pause_is_paid_for_once_at_the_beginning():
    """Segments of 1 and 2 ms behind a pause that costs 0.5 ms; behind the first segment it has been paid."""
    table, slow = table_of([1.0, 2.0], [0.25]), SlowDown(quantile=0.99, clock=FakeClock())
    plan = Plan(table, slow, budget_ms=4.0, extra_ms=0.5)
    assert plan.needs_ms(done=0, to=0) == 1.75
    assert plan.needs_ms(done=0, to=1) == 3.5
    assert plan.needs_ms(done=1, to=1) == 2.0
    assert Plan(table, slow, budget_ms=4.0, rows=3, extra_ms=0.5).needs_ms(done=0, to=1) == 9.5


def test_a_delay_is_added_once_however_large_the_batch():
    """Two batches of 3 ms each at the table's pace, and one delay, for rows twice those of the table."""
    clock = FakeClock()
    slow = SlowDown(quantile=0.99, clock=clock)
    slow.observe(5.0, median_ms=1.0)
    table = table_of([3.0], [], late=1.0)
    pace, delay_ms = slow.now()
    assert delay_ms == pytest.approx(5.0 - pace)
    assert Plan(table, slow, budget_ms=1.0, rows=2).needs_ms(done=0, to=0) == pytest.approx(6.0 * pace + delay_ms)


def test_a_part_is_delayed_by_no_more_than_the_whole_pass():
    """Parts of 1, 2 and 4 ms and a head of 1 ms, p99 twice as much: a way to the end would be delayed by 7 ms. Of 200
    passes of 8 ms, 4 took a quarter more: p99 of a whole pass is 2 ms above its median."""
    slow_down = [1.0] * 196 + [1.25] * 4
    table = table_of([1.0, 2.0, 4.0], [1.0, 0.0], late=2.0, slow_down=slow_down)
    assert table.way(done=0, to=2) == Times(7.0, 9.0)
    assert table.way(done=0, to=0) == Times(2.0, 4.0)  # 1 and 1 ms above, no more than 2
    assert table.way(done=0, to=0, head=False) == Times(1.0, 2.0)
    assert table_of([1.0, 2.0, 4.0], [1.0, 0.0], late=2.0, slow_down=slow_down[-99:]).way(done=0, to=2).late == 14.0
    medians = table_of([1.0, 2.0, 4.0], [1.0, 0.0], late=2.0, slow_down=slow_down, quantile=0.5)
    assert medians.way(done=0, to=2) == Times(7.0, 7.0)


@pytest.mark.parametrize(("rows", "scale"), [(1, 1.0), (4, 1.0), (5, 1.25), (8, 2.0)])
def test_a_batch_is_planned_as_so_many_of_the_table(rows, scale):
    assert table_of([1.0], [], batch_size=4).scale(rows) == scale


def test_what_fits_counts_from_the_arrival():
    plan = Plan(table_of([1.0, 2.0], [0.5]), SlowDown(quantile=0.99, clock=FakeClock()), budget_ms=3.0)
    assert plan.fits(0.0, done=0, to=1)
    assert not plan.fits(0.1, done=0, to=1)
    assert plan.fits(1.0, done=1, to=1)
    assert plan.fits(1.5, done=0, to=0)
    endless = Plan(table_of([1.0, 2.0], [0.5]), SlowDown(quantile=0.99, clock=FakeClock()), budget_ms=None)
    assert endless.fits(1e9, done=0, to=1)


def test_rounding_alone_refuses_nothing():
    """0.1 + 0.2 is 4e-17 above 0.3."""
    plan = Plan(table_of([0.1, 0.2], [0.0]), SlowDown(quantile=0.99, clock=FakeClock()), budget_ms=0.3)
    assert plan.fits(0.0, done=0, to=1)
