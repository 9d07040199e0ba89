"""Paths of a multi-exit model, and other models beside it, in one run on this machine."""

from __future__ import annotations

import pytest

from exitsearch.errors import InputError
from exitsearch.measure.paths import measure_paths
from exitsearch.models.backbone import create_backbone


@pytest.fixture(scope="module")
def digits():
    return create_backbone("vit_digits_patch1_8", pretrained=False)


def test_one_run_times_all_of_them(digits):
    """The same model beside itself takes about as long; an earlier exit answers before a later one."""
    exits = [(1, "linear"), (7, "linear")]
    found = measure_paths(digits, [exits, exits[:1]], models=[digits], threads=1, max_seconds=0.4, precision=0.3)
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
    found = measure_paths(digits, [], models=[digits], threads=1, max_seconds=0.01, precision=1e-9)
    assert found.verdict.status != "ok"
    assert any("the widest: model 0" in reason.remedy for reason in found.verdict.reasons)


def test_wrong_input_is_said(digits):
    with pytest.raises(InputError, match="--batch-size must be from 1"):
        measure_paths(digits, [], batch_size=0)
    with pytest.raises(InputError, match="unknown"):
        measure_paths(digits, [], runtime="nothing")


def test_measured_paths_answer_in_order(digits):
    paths = [[(0, "linear"), (5, "mlp_ee")], [(5, "linear")]]
    found = measure_paths(digits, paths, threads=1, max_seconds=0.01)
    assert [times.exits for times in found.paths] == [tuple(path) for path in paths]
    assert [len(times.answers_ms) for times in found.paths] == [3, 2]
    for times in found.paths:
        assert times.answers_ms == sorted(times.answers_ms)
    assert len(found.plain_ms) == len(found.paths[0].samples_ms[0]) >= 10
    assert found.models == []


@pytest.mark.parametrize("path", [[(5, "linear"), (0, "linear")], [(0, "linear"), (0, "mlp_ee")], [(12, "linear")]])
def test_wrong_paths(digits, path):
    with pytest.raises(InputError, match="each placement once, in ascending order"):
        measure_paths(digits, [path])


@pytest.mark.parametrize("option", ["precision", "max_seconds"])
def test_an_accuracy_or_a_time_that_is_none(digits, option):
    with pytest.raises(InputError, match=option.replace("_", "-")):
        measure_paths(digits, [], **{option: 0.0})
