"""The search under confidence beside all choices at the smallest size, and that a bound too low is found out."""

from __future__ import annotations

from dataclasses import replace

import check_confidence_bound
import pytest


def test_smallest(call, documents, monkeypatch):
    for name, size in {"PLACEMENTS": 3, "HEADS": 2, "SAMPLES": 50, "TRIALS": 2}.items():
        monkeypatch.setattr(check_confidence_bound, name, size)
    called = call(
        "check_confidence_bound", "--problems", "2", "--trials", "2", *documents, "--placements", "0,2", "--heads", "a",
        "--large",
    )  # fmt: skip
    assert called.status == 0
    assert called.document["schema_version"] == 1
    assert called.figures.keys() == {"large", "comparisons"}
    assert called.figures["large"].keys() == {"mean_seconds", "quantile_seconds"}
    assert all(0 < seconds < 60 for seconds in called.figures["large"].values())
    rows = called.figures["comparisons"]
    kinds = [f"{s}, quantile {q}" for s in ("softmax", "patience") for q in (None, 0.5, 0.8)]
    assert [row["problems"] for row in rows] == [
        *(f"made-up, {k}" for k in kinds),
        *(f"outcomes, {k}" for k in kinds),
    ]
    for row in rows:
        assert row["count"] == (2 if row["problems"].startswith("made-up") else 1)
        assert row["broken"] == 0
        assert 0 <= row["missed"] <= row["count"]
        assert 0 <= row["exact"] <= row["count"]
        assert 0 <= row["worst_missed"] < 0.5
        # The bound lies above all choices, and the oracle's above the bound.
        assert -1e-9 <= row["mean_gap"] <= row["worst_gap"] + 1e-12
        assert row["mean_gap"] <= row["mean_oracle_gap"] + 1e-9
        assert row["worst_oracle_gap"] < 1
    heading, *lines, last = called.out.splitlines()
    assert heading.split()[:4] == ["problems", "count", "missed", "worst"]
    assert [line[:34].strip() for line in lines] == [row["problems"] for row in rows]
    assert last.startswith("3 x 2, 2 trials: ")


def test_a_bound_that_is_too_low_counts_as_broken(call, monkeypatch):
    search = check_confidence_bound.choose_from

    def low(problem, answers, *, trials):
        found = search(problem, answers, trials=trials)
        return replace(found, bound=found.staircase.value(problem) - 0.01)

    monkeypatch.setattr(check_confidence_bound, "choose_from", low)
    called = call("check_confidence_bound", "--problems", "1", "--trials", "2")
    assert [row["broken"] for row in called.figures["comparisons"]] == [1] * 6
    assert called.status == 1


def test_nothing_asked_is_nothing_done(call):
    called = call("check_confidence_bound", "--problems", "0")
    assert (called.status, called.figures) == (0, {"comparisons": []})


def test_a_search_that_misses_is_counted(call, monkeypatch):
    """Where trying everything finds 0.25 more, that much more is missed."""
    argv = ["check_confidence_bound", "--problems", "1", "--trials", "2"]
    before = call(*argv).figures["comparisons"]
    right = check_confidence_bound.every_threshold
    monkeypatch.setattr(check_confidence_bound, "every_threshold", lambda *one: right(*one) + 0.25)
    for row, old in zip(call(*argv).figures["comparisons"], before, strict=True):
        assert row["missed"] == 1
        assert row["worst_missed"] == pytest.approx(old["worst_missed"] + 0.25)
