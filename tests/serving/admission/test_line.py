"""Who is admitted: by a clock and times that the tests set, nothing is waited for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from exitsearch.runtime.bundle.manifest import Latency
from exitsearch.serving.admission.forecast import Forecast, Margin
from exitsearch.serving.admission.line import Asked, Line, retry_after
from exitsearch.serving.faults import Refused


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def forecast_of(clock, *, preparation_ms=1.0, reply_ms=0.5, slow_down=1.0, late=1.0, extra_ms=0.0):
    """Exits after 10 + 1, 20 + 1 and 30 ms of computing; preparing takes 1 ms, the way back 0.5."""

    def quantiles(medians):
        return {q: tuple(m * (1.0 if q == 0.5 else late) for m in medians) for q in (0.5, 0.9, 0.99)}

    latency = Latency(
        batch_size=1, threads=1, segments=quantiles([10.0] * 3), heads=quantiles([1.0] * 2), slow_down=(1.0,)
    )
    session = SimpleNamespace(
        manifest=SimpleNamespace(latency=latency, values=(0.5, 0.6, 0.7)),
        quantile=0.99,
        exits=("0:linear", "1:linear", "final"),
        planned_ms=lambda times: times.planned(pace=slow_down),
        refused=lambda: None,
        extra_ms=extra_ms,
    )
    return Forecast(session, preparation_ms=preparation_ms, reply_ms=reply_ms, clock=clock)


def line_of(clock, *, workers=1, queue=4, **options):
    return Line(forecast_of(clock, **options), workers=workers, queue=queue, clock=clock)


def asked(clock, budget_ms, *, ago_ms=0.0, **options):
    return Asked(content=b"x", image=True, budget_ms=budget_ms, arrived=clock.now - ago_ms / 1e3, **options)


def admit(line, what):
    return line.admit(what, lambda _: None)


def reason(line, what):
    with pytest.raises(Refused) as caught:
        admit(line, what)
    return caught.value


def test_the_least_is_preparing_the_first_exit_and_the_way_back(clock):
    """1 + 11 + 0.5."""
    assert admit(line_of(clock), asked(clock, 12.5)).begun is None
    refused = reason(line_of(clock), asked(clock, 12.4))
    assert (refused.reason, refused.needed_ms) == ("budget", pytest.approx(12.5))


def test_an_input_that_is_prepared_needs_no_preparing(clock):
    what = Asked(content=b"x", image=False, budget_ms=11.5, arrived=clock.now)
    admit(line_of(clock, preparation_ms=50.0), what)


def test_the_pause_before_a_request_is_paid_for(clock):
    """1 + 11 + 0.5, and 2 for the pause: that is no matter of a slow machine, which would be one of trying again."""
    admit(line_of(clock, extra_ms=2.0), asked(clock, 14.5))
    refused = reason(line_of(clock, extra_ms=2.0), asked(clock, 14.4))
    assert (refused.reason, refused.needed_ms) == ("budget", pytest.approx(14.5))


def test_time_since_the_arrival_counts(clock):
    refused = reason(line_of(clock), asked(clock, 13.0, ago_ms=1.0))
    assert (refused.reason, refused.needed_ms) == ("slow", pytest.approx(13.5))


def test_a_slow_machine_refuses_what_it_would_answer_at_rest(clock):
    """Twice as slow: 1 + 22 + 0.5."""
    assert reason(line_of(clock, slow_down=2.0), asked(clock, 20.0)).reason == "slow"
    assert reason(line_of(clock, slow_down=2.0), asked(clock, 12.0)).reason == "budget"
    admit(line_of(clock, slow_down=2.0), asked(clock, 23.5))


def test_the_tables_quantile_is_planned_with(clock):
    """A third later at p99: 11 * 4 / 3."""
    line = line_of(clock, late=4 / 3)
    assert reason(line, asked(clock, 16.0)).needed_ms == pytest.approx(1 + 44 / 3 + 0.5)


def test_behind_others_the_turn_comes_later(clock):
    """The first runs its final exit, 1 + 30 ms; the second needs 12.5 behind it."""
    line = line_of(clock)
    admit(line, asked(clock, 1000.0))
    refused = reason(line, asked(clock, 43.4))
    assert (refused.reason, refused.needed_ms) == ("queue", pytest.approx(43.5))
    assert refused.retry_s == pytest.approx(0.0001)
    admit(line, asked(clock, 43.5))


def test_whoever_waits_answers_from_an_earlier_exit_and_makes_the_line_shorter(clock):
    """The second begins at 31 ms and has 43.5 - 31 = 12.5 left: 1 + 11 ms of work. A third can begin at 43."""
    line = line_of(clock)
    admit(line, asked(clock, 1000.0))
    admit(line, asked(clock, 43.5))
    assert reason(line, asked(clock, 55.4)).needed_ms == pytest.approx(43 + 12.5)
    admit(line, asked(clock, 55.5))


def test_a_running_request_is_waited_for_until_it_is_planned_to_end(clock):
    line = line_of(clock)
    admit(line, asked(clock, 1000.0))
    job = line.take()
    assert (job.begun, job.ends) == (clock.now, pytest.approx(clock.now + 0.031))
    clock.now += 0.020
    assert reason(line, asked(clock, 23.0)).needed_ms == pytest.approx(11 + 12.5)
    line.finished(job)
    admit(line, asked(clock, 12.5))


def test_one_that_runs_late_is_expected_to_be_as_late_again(clock):
    line = line_of(clock)
    admit(line, asked(clock, 1000.0))
    line.take()
    clock.now += 0.031 + 0.007
    assert reason(line, asked(clock, 19.0)).needed_ms == pytest.approx(7 + 12.5)


def test_two_workers_serve_two_lines(clock):
    line = line_of(clock, workers=2)
    admit(line, asked(clock, 1000.0))
    admit(line, asked(clock, 12.5))
    # The second is done after 12 ms, the first after 31.
    assert reason(line, asked(clock, 24.4)).needed_ms == pytest.approx(12 + 12.5)
    admit(line, asked(clock, 24.5))


def test_with_a_confidence_every_head_on_the_way_is_planned(clock):
    """30 + 1 + 1 ms of computing, 1 of preparing."""
    line = line_of(clock)
    admit(line, asked(clock, 1000.0, confidence=0.9))
    assert reason(line, asked(clock, 45.0)).needed_ms == pytest.approx(33 + 12.5)


def test_the_queue_is_bounded(clock):
    """One for the worker that is free, two that wait."""
    line = line_of(clock, queue=2)
    for _ in range(3):
        admit(line, asked(clock, 1000.0))
    assert reason(line, asked(clock, 1e6)).reason == "full"
    job = line.take()
    assert reason(line, asked(clock, 1e6)).reason == "full"
    line.finished(job)
    admit(line, asked(clock, 1e6))


def test_a_queue_of_none_admits_what_a_worker_can_take(clock):
    line = line_of(clock, queue=0)
    admit(line, asked(clock, 1000.0))
    assert reason(line, asked(clock, 1000.0)).reason == "full"


def test_nobody_who_was_admitted_is_put_back_by_a_later_one(clock):
    line = line_of(clock)
    first, second = admit(line, asked(clock, 1000.0)), admit(line, asked(clock, 50.0))
    assert line.take() is first
    assert line.take() is second
    assert (line.waiting, line.running) == (0, 2)


def test_whoever_has_gone_is_neither_planned_for_nor_begun(clock):
    line = line_of(clock)
    gone = admit(line, asked(clock, 1000.0))
    gone.abandoned = True
    job = admit(line, asked(clock, 12.5))
    assert line.take() is job
    assert gone.begun is None


def test_a_closed_line_serves_who_waits_and_admits_nobody(clock):
    line = line_of(clock)
    job = admit(line, asked(clock, 1000.0))
    line.close()
    assert reason(line, asked(clock, 1000.0)).reason == "closing"
    assert line.take() is job
    assert line.take() is None


def test_slow_preparing_and_ways_back_are_learnt_and_forgotten(clock):
    forecast = forecast_of(clock)
    for _ in range(40):
        forecast.prepared(20.0)
        forecast.replied(5.0)
    assert forecast.now().preparation == pytest.approx(20.0, rel=0.15)
    assert forecast.now().reply == pytest.approx(5.0, rel=0.15)
    assert forecast.at_rest().least == pytest.approx(12.5)
    clock.now += 60
    assert forecast.now().least == pytest.approx(12.5)


def test_late_answers_widen_the_margin_until_they_are_as_few_as_they_may_be(clock):
    """By 0.1 * 0.99 of 10 ms each; one in a hundred balances with the others, nothing is below 0."""
    margin = Margin(share=0.99, scale_ms=10.0, clock=clock)
    margin.observe(in_time=True)
    assert margin.ms == 0.0
    for _ in range(3):
        margin.observe(in_time=False)
    assert margin.ms == pytest.approx(3 * 0.99)
    for number in range(1000):
        margin.observe(in_time=number % 100 > 0)
    assert margin.ms == pytest.approx(3 * 0.99)
    for _ in range(1000):
        margin.observe(in_time=False)
    assert margin.ms == 100.0


def test_a_margin_that_refuses_everything_goes_again(clock):
    """Not in the first 2 s without an answer; then it halves in 2 s."""
    margin = Margin(share=0.99, scale_ms=10.0, clock=clock)
    margin.observe(in_time=False)
    clock.now += 2.0
    assert margin.ms == pytest.approx(0.99)
    clock.now += 2.0
    assert margin.ms == pytest.approx(0.495)
    margin.observe(in_time=True)
    assert margin.ms == pytest.approx(0.485)


def test_late_answers_make_the_next_plan_shorter(clock):
    forecast = forecast_of(clock)
    forecast.answered(in_time=False)
    assert forecast.reply_ms == pytest.approx(0.5 + 0.1 * 0.995 * 11)


def test_a_loop_that_looks_late_is_planned_for(clock):
    """Who says nothing of a loop has none; then it is 0.1 ms at the least."""
    forecast = forecast_of(clock)
    assert forecast.reply_ms == 0.5
    forecast.looked(0.0)
    assert forecast.reply_ms == pytest.approx(0.6)
    for _ in range(40):
        forecast.looked(3.0)
    assert forecast.now().reply == pytest.approx(3.5, rel=0.15)
    clock.now += 60
    assert forecast.now().reply == pytest.approx(0.6)


def test_what_cannot_be_in_time_any_more_is_prepared_and_no_more(clock):
    assert forecast_of(clock).now().work(12.4, every_head=False) == 1.0
    assert forecast_of(clock).now().work(12.5, every_head=False) == 12.0


@pytest.mark.parametrize(
    ("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.01, "2"), (float("inf"), "3600")]
)
def test_the_header_holds_whole_seconds(seconds, header):
    assert retry_after(seconds) == header
