"""Knobs: every setting once, in order, and one sentence for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from exitsearch.errors import FileError, InputError
from exitsearch.specs.load import load_space
from exitsearch.specs.question.knobs import Knobs, Setting

OTHERWISE = Setting(dtype="fp32", runtime="eager", threads=2, batch_size=1)


def test_every_setting_once_the_last_knob_fastest():
    knobs = Knobs.model_validate({"dtype": ["fp32", "bf16"], "heads": {"gah": {"stride": [1, 2]}}})
    settings = knobs.settings(OTHERWISE)
    assert [str(setting) for setting in settings] == [
        "fp32, eager, 2 threads, batches of 1, gah(stride=1)",
        "fp32, eager, 2 threads, batches of 1, gah(stride=2)",
        "bf16, eager, 2 threads, batches of 1, gah(stride=1)",
        "bf16, eager, 2 threads, batches of 1, gah(stride=2)",
    ]
    assert knobs.parameters(settings[1]) == {"dtype": "fp32", "gah.stride": 2}
    assert settings[1].condition == settings[0].condition == OTHERWISE
    assert knobs.need_training
    assert not Knobs(threads=[1, 2]).need_training


def test_no_knobs_are_one_setting():
    assert Knobs().values == {}
    assert Knobs().settings(OTHERWISE) == [OTHERWISE]


def test_a_space_holds_them(tmp_path: Path):
    path = tmp_path / "space.toml"
    knobs = "[knobs]\nthreads = [1, 2]\ninput_size = [8, 12]\n[knobs.heads.lph]\ndepthwise = [true, false]"
    path.write_text(f"schema_version = 1\n{knobs}\n")
    knobs = load_space(path).knobs
    assert knobs.values == {"threads": [1, 2], "input_size": [8, 12], "lph.depthwise": [True, False]}
    assert len(knobs.settings(OTHERWISE)) == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('dtype = ["fp8"]', "knobs.dtype[0] should be 'fp32', 'bf16' or 'fp16', found 'fp8'"),
        ("threads = [0]", "knobs.threads[0] should be greater than or equal to 1, found 0"),
        ("threads = 2", "knobs.threads should be a valid list, found 2"),
        ("threads = [1, 1]", "each value of a knob once is needed, found [1, 1]"),
        ("thread = [1]", "the key knobs.thread is unknown"),
        ("heads.gah.stride = []", "a knob needs a value, found none for stride of gah"),
        ("heads.gah.stride = [1, true]", "each value of a knob once"),
    ],
)
def test_refusals(tmp_path: Path, text: str, words: str):
    path = tmp_path / "space.toml"
    path.write_text(f"schema_version = 1\n[knobs]\n{text}\n")
    with pytest.raises(FileError) as error:
        load_space(path)
    assert words in str(error.value)


def test_too_many_settings_are_refused():
    with pytest.raises(InputError, match="at most 10000 settings, found 40000"):
        Knobs(threads=list(range(1, 201)), batch_size=list(range(1, 201))).settings(OTHERWISE)
