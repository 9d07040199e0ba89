"""The no-exit tax of timm's smallest transformer."""

from __future__ import annotations

import bench_tax
import pytest

SMALL = ("--models", "test_vit", "--rounds", "7", "--warm-up", "1")


def test_smallest(call):
    called = call("bench_tax", *SMALL)
    condition, (row,) = called.figures["condition"], called.figures["models"]
    assert (condition["device"], condition["threads"], condition["rounds"]) == ("cpu", 1, 7)
    assert (row["model"], row["placements"]) == ("test_vit", 6)
    assert 0.05 < row["tax"] < 20
    assert 0.05 < row["self"] < 20
    assert 0 < row["whole_ms"] < 10_000
    assert 0 < row["parts_ms"] < 10_000
    if row["interval"]:
        low, high = row["interval"]
        assert low <= row["tax"] <= high
    assert called.status == (row["tax"] > called.figures["limit"])
    assert f"largest tax {row['tax']:.4f} (test_vit), limit 1.02" in called.out


@pytest.mark.parametrize(("tax", "status"), [(1.0, 0), (1.02, 0), (1.021, 1)])
def test_the_limit_decides_the_status(call, monkeypatch, tax, status):
    row = {"whole_ms": 1.0, "parts_ms": tax, "tax": tax, "interval": (tax, tax), "self": 1.0, "placements": 1}
    monkeypatch.setattr(bench_tax, "measure", lambda name, **_: {"model": name, **row})
    assert call("bench_tax", "--models", "a", "b").status == status


def test_an_unknown_model_is_one_sentence(capsys):
    assert bench_tax.main(["--models", "no_such_vit"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bench_tax: ")
    assert "no_such_vit" in line
