"""The model card says what the manifest says."""

from __future__ import annotations

import pytest
from test_bundle import manifest

from exitsearch.deploy.card import card
from exitsearch.deploy.checks import Ratios
from exitsearch.specs.bundle import Bundle

RATIOS = Ratios(chain_over_whole=1.0123, no_exit_tax=1.0456, whole_ms=2.5, answers_ms=[1.25, 2.75], rounds=100)
MEASURED = {"latency": {"source": "measured", "cpu": "a CPU", "rounds": 7, "verdict": {"status": "ok"}}}


def text(ratios=None, **changes):
    return card(Bundle.parse(manifest(**changes), "bundle.json"), ratios)


def test_measured():
    found = text(RATIOS, profile=MEASURED)
    assert "# tiny, with 1 early exit\n" in found
    assert "| 0 | 3 | linear | 0.5000 | 1.250 | 1.0000 of 10 | 1e-06 |" in found
    assert "| 1 |  | final exit | 0.7500 | 2.750 | not measured |  |" in found
    assert "measured as deployed on a CPU, 7 rounds; verdict: ok" in found
    assert "with every head on the way" in found
    assert "1.012 times its time" in found
    assert "1.046" in found


def test_summed_up_from_a_profile():
    found = text(profile={"latency": {"source": "profile"}})
    assert "summed over a profile's placements: the merged graphs take less" in found
    assert "No times were measured." in found


def test_under_contract():
    found = text(policy="contract")
    assert "with no head but its own" in found
    assert "| 1 |  | final exit | 0.7500 | 2.500 |" in found


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_precision_is_explained(precision):
    assert f"{precision}: " in text(precision=precision)


def test_preprocessing():
    step = {"mode": "L", "resize": [9, 9], "interpolation": "bilinear", "crop_pct": 0.9, "crop_mode": "center"}
    assert "L; resized to 9 x 9 (center, bilinear, antialiased)" in text(
        preprocessing={**step, "mean": [0.5], "std": [0.25]}
    )
    assert "inputs are prepared by whoever gives them" in text()
