"""Loading beside timm's own at its smallest size: the batches are the same, and the ratios follow from the times."""

from __future__ import annotations

import statistics

import bench_loading
import pytest


@pytest.mark.parametrize("workers", [0, 1])
def test_smallest(call, workers):
    argv = ["--model", "test_vit", "--images", "12", "--batch-size", "5", "--rounds", "2", "--workers", str(workers)]
    called = call("bench_loading", *argv)
    found = called.figures
    assert found["equal"] is True
    assert found["images"] == 12
    assert [row["loader"] for row in found["loaders"]] == ["ours", "plain", "prefetcher"]
    for row in found["loaders"]:
        times = found["rounds_seconds"][row["loader"]]
        assert len(times) == 2
        assert row["images_per_second"] == pytest.approx(12 / statistics.median(times))
        ratios = [own / other for own, other in zip(found["rounds_seconds"]["ours"], times, strict=True)]
        assert row["ratio"] == pytest.approx(statistics.median(ratios))
    assert called.status == int(max(row["ratio"] for row in found["loaders"]) > bench_loading.MUST_STAY_UNDER)
    assert "batches equal" in called.out


def test_too_few_rounds_are_refused(capsys):
    assert bench_loading.main(["--rounds", "0"]) == 2
    assert "--rounds must be 1 or more" in capsys.readouterr().err
