"""Two processes take turns at the passes of a small backbone."""

from __future__ import annotations

import sys

import pytest

from exitsearch import allocator
from exitsearch.specs.backbone import EMBEDDED_NAME


@pytest.mark.skipif(not sys.platform.startswith("linux") or allocator._mallopt() is None, reason="needs glibc")
def test_smallest(call):
    called = call("bench_allocator", "--model", EMBEDDED_NAME, "--rounds", "2", "--threads", "1")
    assert called.status == 0
    rows = called.figures["passes"]
    assert [row["pass"] for row in rows] == ["whole", "whole behind heads", "segments among heads"]
    for row in rows:
        assert row["left_ms"] > 0 < row["kept_ms"]
        assert row["ratio"] == pytest.approx(row["left_ms"] / row["kept_ms"])
        assert row["left_faults"] >= 0 <= row["kept_faults"]


def test_no_rounds_are_refused(capsys):
    import bench_allocator

    assert bench_allocator.main(["--rounds", "0"]) == 2
    assert "--rounds must be 1 or more" in capsys.readouterr().err
