"""Whether intervals cover, on few splits of made-up samples; and that a wrong interval is found out."""

from __future__ import annotations

import check_interval
import numpy as np
import pytest


def test_smallest(call, documents):
    called = call("check_interval", *documents, "--splits", "3", "--policies", "interruptible")
    assert called.status == 0
    assert called.figures["stated"] == 0.95
    drawn, halves = called.figures["runs"]
    assert (drawn["way"], halves["way"]) == ("drawn", "halves")
    assert drawn["intervals"] == 3 * (1 + check_interval.MORE)
    assert halves["intervals"] == 3
    assert halves["rate"] > drawn["rate"] == 0.95
    for run in (drawn, halves):
        assert run["covered"] == sum(row["more"] + (row["low"] <= row["pool"] <= row["high"]) for row in run["rows"])
        assert run["usual_from"] <= 0.95 * run["intervals"] <= run["usual_to"] or run["way"] == "halves"
        assert run["width"] == pytest.approx(np.mean([row["high"] - row["low"] for row in run["rows"]]))
        for row in run["rows"]:
            assert 0 < row["low"] < row["report"] < row["high"] < 1
            assert 0.3 < row["pool"] < 0.9
    # Both halves make the pool: what is known better is off the other way.
    for row in halves["rows"]:
        assert row["pool"] == pytest.approx((row["choice"] + row["report"]) / 2)
    assert called.out.count("interruptible, drawn") == 2
    assert called.out.count("interruptible, halves") == 2


def test_intervals_that_are_too_narrow_fail(call, documents, monkeypatch):
    exact = check_interval.mean_interval

    def narrow(values, *, seed):
        low, high = exact(values, seed=seed)
        return (low + high) / 2 - (high - low) / 20, (low + high) / 2 + (high - low) / 20

    monkeypatch.setattr(check_interval, "mean_interval", narrow)
    called = call("check_interval", *documents, "--splits", "2", "--policies", "contract", "--quiet")
    assert called.status == 1
    drawn = called.figures["runs"][0]
    assert drawn["covered"] < drawn["usual_from"]
    assert drawn["chance"] < 0.01
    assert "split" not in called.out


def test_outcomes_without_samples_are_refused(documents, capsys):
    argv = ["--profile", "published:mevit-gmacs", "--outcomes", "published:mevit-cifar100"]
    assert check_interval.main(argv) == 2
    assert capsys.readouterr().err.startswith("check_interval: this check needs outcomes of accuracy, with samples")
