"""Thresholds beside others' at the smallest size, and the exhaustive search itself beside trying all by hand."""

from __future__ import annotations

import itertools

import bench_thresholds
import earlyon_thresholds
import numpy as np
import pytest
from exhaustive_thresholds import exhaustive

RULES = ["exhaustive", "MSDNet's quota", "greedy lowering"]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(bench_thresholds, "SAMPLES", 500)
    monkeypatch.setattr(bench_thresholds, "CONFIGURATIONS", 20)
    monkeypatch.setattr(bench_thresholds, "MADE_UP_SAMPLES", 40)


def test_smallest(call, documents):
    called = call("bench_thresholds", *documents, "--choices", "2")
    assert called.status == 0
    assert called.document["schema_version"] == 2
    assert called.figures.keys() == {"configurations_per_second", "rules"}
    assert 1 < called.figures["configurations_per_second"] < 1e7
    rows = called.figures["rules"]
    made_up, real, best = "2 made-up choices of 3 exits, 40 samples", "2 random choices of 3 exits", "the best "
    by_title: dict[str, list[str]] = {}
    for row in rows:
        by_title.setdefault(row["choices"], []).append(row["against"])
    others = ["earlyon"] if earlyon_thresholds.installed() else []
    assert by_title[made_up] == RULES
    assert by_title[real] == [*RULES, *others]
    assert [title.startswith(best) for title in by_title] == [False, False, True]
    for row in rows:
        assert row["worst"] <= row["mean_ahead"] + 1e-12
        assert row["least_value"] <= row["value"] + 1e-12
        assert (row["held_out"] is None) == (row["against"] == "exhaustive" or row["choices"] == made_up)
        assert max(map(abs, (row["mean_ahead"], row["value"], row["held_out"] or 0))) < 0.5
        if row["against"] == "exhaustive":
            # Nothing is ahead of every threshold that there is.
            assert row["mean_ahead"] <= 1e-12
            assert row["value"] <= 1e-12
        else:
            assert row["value"] > -0.05
    printed = [line for line in called.out.splitlines() if line.startswith("  ") and "mean ahead" not in line]
    assert [line[2:22].strip() for line in printed] == [row["against"] for row in rows]
    assert "configurations a second (8 exits, 500 samples, 20 configurations)" in called.out


def test_wrong_input(capsys, documents):
    assert bench_thresholds.main(["--choices", "0"]) == 2
    assert capsys.readouterr().err == "bench_thresholds: --choices must be 1 or more; found 0\n"
    assert bench_thresholds.main(documents[:2]) == 2
    assert "--profile and --outcomes belong together" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(3))
def test_exhaustive_is_every_threshold(monkeypatch, seed):
    """The same staircase as the replay of all combinations of the scores that occur, and of `off`."""
    monkeypatch.setattr(bench_thresholds, "MADE_UP_SAMPLES", 7)
    _, replay = bench_thresholds.made_up(seed)
    axes = [[*np.unique(scores), np.inf] for scores in replay.scores]
    stairs = replay.staircase(np.array(list(itertools.product(*axes))))
    costs, values = exhaustive(replay)
    assert costs == pytest.approx(stairs.costs_ms, abs=1e-9)
    assert values == pytest.approx(stairs.values, abs=1e-12)
