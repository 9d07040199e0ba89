"""A multi-exit model and other models in one run, on this machine."""

from __future__ import annotations

import pytest

from exitsearch.errors import InputError
from exitsearch.measure.beside import measure_beside
from exitsearch.models.backbone import create_backbone


@pytest.fixture(scope="module")
def digits():
    return create_backbone("vit_digits_patch1_8", pretrained=False)


def test_one_run_times_all_of_them(digits):
    """The same model beside itself takes about as long; an earlier exit answers before a later one."""
    exits = [(1, "linear"), (7, "linear")]
    found = measure_beside(digits, [exits, exits[:1]], [digits], threads=1, max_seconds=0.4, precision=0.3)
    whole, alone = found.paths
    assert whole.exits == tuple(exits)
    assert whole.answers_ms[0] < whole.answers_ms[1] < whole.answers_ms[2]
    assert len(alone.answers_ms) == 2
    assert len(found.models[0].answers_ms) == 1
    assert 0.5 < found.models[0].answers_ms[0] / found.whole_ms < 2.0
    assert len(found.slowdown) == len(whole.samples_ms[0])
    assert found.condition == {
        "device": "cpu",
        "dtype": "fp32",
        "batch_size": 1,
        "threads": 1,
        "runtime": "eager",
    }
    assert found.verdict.status in ("ok", "noisy", "invalid")
    assert not any("sum of the parts" in reason.what for reason in found.verdict.reasons)


def test_an_interval_that_is_too_wide_is_in_doubt(digits):
    """Ten passes never settle to a billionth: the verdict says that, and by how much."""
    found = measure_beside(digits, [], [digits], threads=1, max_seconds=0.01, precision=1e-9)
    assert found.verdict.status != "ok"
    assert any("the widest: model 0" in reason.remedy for reason in found.verdict.reasons)


def test_wrong_input_is_said(digits):
    with pytest.raises(InputError, match="--batch-size must be from 1"):
        measure_beside(digits, [], [], batch_size=0)
    with pytest.raises(InputError, match="unknown"):
        measure_beside(digits, [], [], runtime="nothing")
