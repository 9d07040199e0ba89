"""What many requests say together, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from exitsearch.deploy.verify import Request
from exitsearch.deploy.verify_figures import allowed_interval, bootstrap_interval, observed

NAMES = ("3:linear", "final")


def request(exit_, *, value=1.0, budget=10.0, drawn=None, time=5.0, status="ok", sample=0):
    return Request(sample, budget if drawn is None else drawn, budget, status, exit_, value, time)


def test_refusals_misses_and_shares_are_counted_apart():
    """Of 8 requests: 1 refused, 1 without an answer, 6 answers of which 2 are late, by 1 and 4 ms."""
    requests = [
        request(None, status="refused", value=0.0, time=99.0),
        request(None, status="none", value=0.0, time=99.0),
        request(0, time=4.0),
        request(0, time=6.0),
        request(1, time=11.0, status="late"),
        request(1, time=14.0, status="late"),
        request(1, time=9.0, value=0.0),
        request(1, time=10.0),
    ]
    found = observed(requests, names=NAMES, policy="contract")
    assert found.requests == 8
    assert found.value == 5 / 8
    assert (found.no_answer, found.refused) == (0.25, 0.125)
    assert (found.late.share, found.late.median_ms, found.late.worst_ms) == (2 / 6, 2.5, 4.0)
    assert found.struck is None
    assert [(use.exit, use.share, use.median_ms) for use in found.exits] == [
        ("3:linear", 0.25, 5.0),
        ("final", 0.5, 10.5),
    ]
    assert found.exits[0].p90_ms is None  # of two answers nothing is known of a tail


def test_late_strikes_are_no_missed_deadlines():
    requests = [request(0, budget=10.05, drawn=10.0), request(0, budget=12.0, drawn=10.0)]
    found = observed(requests, names=NAMES, policy="interruptible")
    assert found.late is None
    assert (found.struck.share, found.struck.worst_ms) == (0.5, 2.0)  # 0.05 ms is a thread's own wake-up


def test_nothing_answered():
    found = observed([request(None, status="refused", value=0.0)] * 3, names=NAMES, policy="contract")
    assert (found.no_answer, found.refused, found.late.share) == (1.0, 1.0, 0.0)
    assert found.interval == (0.0, 0.0)


def test_requests_of_one_sample_do_not_count_as_many():
    """Two samples, asked 500 times each, one always right: with chance 1/4 both that are drawn are the wrong one."""
    samples = np.repeat([0, 1], 500)
    assert bootstrap_interval((samples == 0).astype(float), samples) == (0.0, 1.0)
    many = np.arange(1000)
    low, high = bootstrap_interval((many % 2).astype(float), many)
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.5 / 1000**0.5, 0.5 + 1.96 * 0.5 / 1000**0.5), abs=0.004)


def test_the_predictions_interval_is_the_wider_side_and_the_slack():
    requests = [request(0, value=1.0, sample=n) for n in range(50)]
    found = observed(requests, names=NAMES, policy="contract").model_copy(
        update={"value": 0.5, "interval": (0.47, 0.51)}
    )
    assert allowed_interval(0.6, found, slack=0.01) == pytest.approx((0.56, 0.64))
    assert allowed_interval(0.98, found, slack=0.01, most=1.0) == pytest.approx((0.94, 1.0))
