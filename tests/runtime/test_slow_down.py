"""The tracked pace and delay of a machine, by hand and by a clock that is moved by hand."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from timed_units import FakeClock, table_of

from exitsearch.runtime import slow_down
from exitsearch.runtime.deadline import Plan, Times
from exitsearch.runtime.slow_down import SlowDown


def test_at_rest_nothing_is_added():
    slow = SlowDown(quantile=0.99, clock=FakeClock())
    assert slow.now() == (1.0, -math.inf)
    assert not slow.is_felt


def test_the_pace_is_what_was_observed_over_what_was_expected():
    """Beside two requests at the table's pace that it begins with: (2 * 10 + 20 + 60) / (2 * 10 + 10 + 30) of which the
    last one's 30 ms stand for those two in the end: (60 + 20 + 60) / (60 + 10 + 30)."""
    slow = SlowDown(quantile=0.99, clock=FakeClock())
    slow.observe(20.0, median_ms=10.0)
    slow.observe(60.0, median_ms=30.0)
    assert slow.pace == pytest.approx(140 / 100)


def test_a_machine_that_is_faster_than_its_table_is_planned_by_the_table():
    slow = SlowDown(quantile=0.99, clock=FakeClock())
    for _ in range(100):
        slow.observe(0.5, median_ms=1.0)
    slow.observe(5.0, median_ms=0.0)  # nothing was done
    assert slow.pace == 1.0
    assert slow.delay_ms <= 0.0


def test_one_delayed_request_counts_at_once_and_not_for_long():
    """Of 50 requests 1% is half a one: one that was delayed counts until it has faded to that."""
    clock = FakeClock()
    slow = SlowDown(quantile=0.99, clock=clock)
    slow.observe(5.0, median_ms=1.0)
    assert slow.delay_ms == pytest.approx(5.0 - 7.0 / 3.0)  # the pace being (5 + 2) / (1 + 2)
    clock.now += 1.9
    assert slow.delay_ms > 2.0
    clock.now += 0.2
    assert slow.delay_ms == -math.inf  # nothing is known of one


def test_a_delay_is_what_the_pace_of_now_does_not_explain():
    """Forty requests that take three times as long as a rule are slow, and none of them is delayed: a plan is 3.1 at
    the most for what takes 1 as a rule, not 3 and what the first one was delayed by when nothing was known."""
    slow = SlowDown(quantile=0.99, clock=FakeClock())
    for _ in range(40):
        slow.observe(3.0, median_ms=1.0)
    pace, delay_ms = slow.now()
    assert pace == pytest.approx(3.0, rel=0.05)
    assert pace + delay_ms == pytest.approx(3.0)


def test_where_the_table_is_right_nothing_is_added_to_any_plan():
    """Requests of 1 and of 10 ms that vary by a fifth of their time: what is right for the long ones would be a delay
    of two times the short ones' whole time."""
    rng, slow = np.random.default_rng(0), SlowDown(quantile=0.99, clock=FakeClock())
    late = 1 + 0.2 * 2.326  # the 99th percentile of a normal distribution
    for _ in range(3000):
        median = float(rng.choice([1.0, 10.0]))
        slow.observe(median * rng.normal(1.0, 0.2), median_ms=median, late_ms=median * late)
    pace, delay_ms = slow.now()
    for median in (1.0, 10.0):
        assert Times(median, median * late).planned(pace=pace, delay_ms=delay_ms) < median * late + 0.2


def test_a_delay_is_the_same_for_short_and_long_requests():
    """A neighbour's turn of 4 ms hits one request in ten, whatever its length, 1 or 20 ms."""
    rng = np.random.default_rng(0)
    slow = SlowDown(quantile=0.99, clock=FakeClock())
    for _ in range(400):
        median = float(rng.choice([1.0, 20.0]))
        slow.observe(median + 4.0 * (rng.random() < 0.1), median_ms=median)
    assert slow.pace == pytest.approx(1.04, abs=0.03)
    assert slow.delay_ms == pytest.approx(4.0, abs=0.5)


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_a_share_beyond_the_quantile_is_later_than_planned(quantile):
    """Of 20,000 requests of 1 ms, ten a second, delayed by an exponential time of 2 ms in the mean."""
    rng, clock = np.random.default_rng(0), FakeClock()
    slow, beyond = SlowDown(quantile=quantile, clock=clock, half_life_s=100.0), []
    for delay in rng.exponential(2.0, 20_000):
        clock.now += 0.1
        pace, delay_ms = slow.now()
        beyond.append(1.0 + delay > pace + delay_ms)
        slow.observe(1.0 + delay, median_ms=1.0)
    assert np.mean(beyond[2_000:]) == pytest.approx(1 - quantile, rel=0.3)


def test_many_requests_in_little_time_do_not_make_it_forget():
    """A thousand requests a second, one in fifty delayed by 3 ms: it is planned for at any moment."""
    clock = FakeClock()
    slow, felt = SlowDown(quantile=0.99, clock=clock), []
    for number in range(20_000):
        clock.now += 0.001
        slow.observe(1.0 + 3.0 * (number % 50 == 0), median_ms=1.0)
        felt.append(slow.delay_ms > 2.5)
    assert np.mean(felt[200:]) > 0.99


def test_what_is_old_fades_also_where_nothing_is_observed():
    """Nothing is observed while everything is refused: without fading that would stay so for ever."""
    clock = FakeClock()
    slow = SlowDown(quantile=0.99, clock=clock)
    table = table_of([1.0], [])
    for _ in range(50):
        slow.observe(100.0, median_ms=1.0)
    assert not Plan(table, slow, budget_ms=1.5).fits(0.0, done=0, to=0)
    clock.now += 60.0
    assert Plan(table, slow, budget_ms=1.5).fits(0.0, done=0, to=0)
    assert slow.pace == pytest.approx(1.0, abs=1e-5)


def test_after_days_it_still_counts():
    """What is old is nothing in the end, and what is new counts as on the first day."""
    clock = FakeClock()
    slow = SlowDown(quantile=0.99, clock=clock)
    for _ in range(300):
        clock.now += 900.0
        slow.observe(5.0, median_ms=1.0)
        assert slow.delay_ms > 1.0
    clock.now += 1e9
    assert slow.now() == (1.0, -math.inf)
    slow.observe(5.0, median_ms=1.0)
    assert slow.delay_ms > 2.0


def test_a_machine_that_stands_still_is_not_planned_for_for_ever():
    slow = SlowDown(quantile=0.99, clock=FakeClock())
    for _ in range(1000):
        slow.observe(math.inf, median_ms=1.0)
    assert slow.pace <= 1000.0
    assert slow.delay_ms <= 1000.0


def test_without_correction_nothing_is_tracked():
    slow = SlowDown(quantile=0.99, clock=FakeClock(), corrects=False)
    slow.observe(50.0, median_ms=1.0)
    assert slow.now() == (1.0, -math.inf)


def test_delays_that_are_rare_are_not_planned_for():
    """Of a thousand requests 1% is ten: three that were held up by 8 ms are what the quantile leaves."""
    slow = SlowDown(quantile=0.99, clock=FakeClock())
    for number in range(1000):
        slow.observe(9.0 if number in (400, 500, 600) else 1.0, median_ms=1.0)
    assert slow.delay_ms < 0.1


def test_few_or_all_of_the_delays_sorted_say_the_same(monkeypatch):
    """The shortcut over the largest ones alone, against sorting everything, weights and ties and all."""
    found = {}
    for looked_at in (4, 10_000):
        monkeypatch.setattr(slow_down, "_LOOKED_AT", looked_at)
        clock, draw = FakeClock(), np.random.default_rng(3)
        slow, said = SlowDown(quantile=0.99, clock=clock), []
        for _ in range(1500):
            clock.now += draw.exponential(0.02)
            median = float(draw.choice([1.0, 5.0]))
            slow.observe(median + 3.0 * (draw.random() < 0.05) + draw.choice([0.0, 0.1]), median_ms=median)
            said.append(slow.now())
        found[looked_at] = said
    assert found[4] == found[10_000]


def test_what_is_dropped_is_dropped_wholly():
    """After 1000 ordinary requests nothing of 1000 slow ones before them is left."""
    slow = SlowDown(quantile=0.99, clock=FakeClock())
    for _ in range(1000):
        slow.observe(30.0, median_ms=1.0)
    for _ in range(1000):
        slow.observe(1.0, median_ms=1.0)
    assert slow.pace == pytest.approx(1.0)
    assert slow.delay_ms <= 1e-9


def test_many_threads_at_once():
    slow = SlowDown(quantile=0.99, clock=FakeClock())

    def work() -> None:
        for number in range(500):
            slow.observe(1.0 + number % 7, median_ms=1.0)
            slow.now()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert slow._count == 2000
    assert 3.0 < slow.pace < 4.5  # 4 in the mean
