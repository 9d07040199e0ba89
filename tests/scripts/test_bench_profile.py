"""Repeatability and overhead of a profile, of timm's smallest transformer."""

from __future__ import annotations

import pytest


def test_smallest(call):
    called = call(
        "bench_profile", "--model", "test_vit", "--heads", "linear", "--threads", "1", "--max-seconds", "1",
        "--overhead-seconds", "0.1",
    )  # fmt: skip
    assert called.status == 0
    overhead, repeated = called.figures["overhead"], called.figures["repeatability"]
    assert overhead["rounds"] >= 30
    assert overhead["overhead"] == pytest.approx(overhead["read_ms"] / overhead["unread_ms"] - 1)
    low, high = overhead["read_interval_ms"]
    assert 0 < low <= overhead["read_ms"] <= high
    # test_vit: 6 blocks, a head on each, the end, and the plain backbone.
    assert repeated["units"] == 14
    assert 0 <= repeated["median_unit_differs"] <= repeated["worst_unit_differs"]
    assert 0 <= repeated["median_share_differs"] <= repeated["worst_share_differs"]
    assert 0.05 < repeated["plain_backbone_ratio"] < 20
    assert repeated["environment"]["threads"] == 1
    assert "test_vit" in repeated["condition"]
    assert f"  units: {repeated['units']}\n" in called.out
    assert f"  overhead: {overhead['overhead']}\n" in called.out
