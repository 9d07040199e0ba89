"""A plan of queued work, by hand: segments of 1 ms, heads of 0.25, no spread, a budget of 3 ms; exit 3 is the final."""

from __future__ import annotations

import pytest

from exitsearch.deploy.cuda.work import QueuedPlan
from exitsearch.runtime.bundle.manifest import Latency
from exitsearch.runtime.deadline import Plan, SlowDown, Table

QUANTILES = (0.5, 0.9, 0.99)


def plan_of(budget_ms, *, kind=QueuedPlan):
    latency = Latency(
        batch_size=1,
        threads=1,
        segments=dict.fromkeys(QUANTILES, (1.0, 1.0, 1.0, 1.0)),
        heads=dict.fromkeys(QUANTILES, (0.25, 0.25, 0.25)),
        slow_down=(1.0,) * 200,
    )
    table = Table(latency, quantile=0.99)
    return kind(table, SlowDown(quantile=0.99, clock=lambda: 0.0), budget_ms=budget_ms)


def test_a_plan_counts_from_where_host_and_device_met():
    """Two segments are handed over after 0.1 ms of the host: the final exit answers at 4 ms all the same."""
    assert plan_of(3.0, kind=Plan).fits(0.1, done=2, to=3)
    plan = plan_of(3.0)
    plan.meet(0.0, done=0)
    assert not plan.fits(0.1, done=2, to=3)
    assert not plan.fits(0.1, done=2, to=2)
    assert plan.fits(0.1, done=2, to=1)


def test_what_was_waited_for_is_known():
    """Behind the first head, read at 1.25 ms, exit 1 answers at 2.5 and the final one at 4.25."""
    plan = plan_of(3.0)
    plan.meet(1.25, done=1)
    assert plan.fits(1.3, done=2, to=1)
    assert not plan.fits(1.3, done=2, to=3)
    late = plan_of(4.25)
    late.meet(1.25, done=1)
    assert late.fits(1.3, done=2, to=3)


def test_a_host_that_is_late_counts():
    plan = plan_of(4.0)
    plan.meet(0.0, done=0)
    assert plan.fits(0.1, done=1, to=3)
    assert not plan.fits(1.1, done=1, to=3)


@pytest.mark.parametrize(("handed_ms", "fits"), [(0.9, True), (1.5, False)])
def test_a_device_that_had_nothing_to_do_begins_when_it_gets_work(handed_ms, fits):
    """The second segment comes at 0.9 ms, while the first runs, or at 1.5 ms: then the final exit answers at 4.5."""
    plan = plan_of(4.0)
    plan.meet(0.0, done=0)
    plan.hand_over(handed_ms, position=1)
    assert plan.fits(handed_ms, done=2, to=3) is fits
    assert plan.fits(handed_ms, done=2, to=1)


def test_without_a_budget_everything_fits():
    plan = plan_of(None)
    plan.meet(1e6, done=0)
    assert plan.fits(1e6, done=1, to=3)
