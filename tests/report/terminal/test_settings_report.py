"""What is shown of a search over settings."""

from __future__ import annotations

import json

import pytest
from rendering import WIDTHS, columns, columns_of, sentences, shown, toy_result

from exitsearch.report.terminal import settings
from exitsearch.search.result import SettingRow, SettingsResult
from exitsearch.specs.question.knobs import Knobs, Setting

KNOBS = Knobs.model_validate({"dtype": ["fp32", "bf16"], "batch_size": [1, 4], "heads": {"gah": {"stride": [2]}}})
FIRST = Setting(dtype="fp32", runtime="eager", threads=1, batch_size=1, heads={"gah": {"stride": 2}})


def setting(dtype, batch_size):
    return FIRST.model_copy(update={"dtype": dtype, "batch_size": batch_size})


ROWS = (
    SettingRow(setting("fp32", 1), 0.48, 8.0, 2, "ok", "tried", None),
    SettingRow(setting("fp32", 4), 0.52, 24.0, 1, "noisy", "tried", None),
    SettingRow(setting("bf16", 1), 0.31, 4.0, 0, "ok", "pruned", None),
    SettingRow(setting("bf16", 4), None, None, None, None, "impossible", "there is no bf16 here"),
)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return toy_result(tmp_path_factory.mktemp("toy"))


def of(result, rows=ROWS, **more):
    told = {"settings": 4, "proved": False, "gained": 0.0, "study": "settings-1", "interrupted": False, **more}
    return SettingsResult(
        result=result, setting=rows[0].setting.condition, knobs=KNOBS, rows=rows, **{"sources": {}, **told}
    )


def test_the_best_stands_first_and_what_came_to_nothing_last(result):
    rows = settings.setting_rows(of(result))
    assert [(row["dtype"], row["batch_size"]) for row in rows] == [
        ("fp32", "4"), ("fp32", "1"), ("bf16", "1"), ("bf16", "4")
    ]  # fmt: skip
    assert [row["state"] for row in rows] == ["tried", "tried", "given up", "impossible"]
    assert rows[0] == {
        "dtype": "fp32", "batch_size": "4", "gah.stride": "2", "full ms": "24", "ms per input": "6", "exits": "1",
        "value": "0.5200", "times": "noisy", "state": "tried",
    }  # fmt: skip
    assert [rows[3][name] for name in ("full ms", "ms per input", "exits", "value", "times")] == [""] * 5


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_off(result, width):
    found = of(result)
    text = shown(*settings.renderables(found), width=width)
    assert text.startswith("The settings that were tried")
    assert columns(text) == columns_of(settings.setting_rows(found))
    for sentence in settings.lines(found):
        assert sentence in sentences(text)


def test_a_knob_without_batches_has_no_time_per_input(result):
    alone = SettingsResult(
        result, FIRST, Knobs.model_validate({"dtype": ["fp32", "bf16"]}), ROWS[:1], 2, False, 0.0, "s", False, {}
    )
    assert list(settings.setting_rows(alone)[0]) == ["dtype", "full ms", "exits", "value", "times", "state"]


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (
            {"proved": True},
            "All 4 settings were tried, 1 of them not possible here: the optimum is proved over all of them.",
        ),
        ({"proved": True, "rows": ROWS[:2], "settings": 2}, "All 2 settings were tried: the optimum is proved"),
        (
            {"settings": 9},
            "Optimum proved within the 2 of 9 settings tried to the end (1 given up early, 1 not possible here, "
            "5 not tried).",
        ),
        ({"rows": ROWS[:2], "settings": 2}, "Optimum proved within the 2 of 2 settings tried to the end."),
    ],
)
def test_how_far_the_proof_reaches(result, told, sentence):
    found = of(result, **told)
    assert settings.lines(found)[0] == "Setting: fp32, eager, 1 thread, batches of 1."
    assert settings.lines(found)[1].startswith(sentence)


def test_failures_are_counted(result):
    failed = SettingRow(setting("bf16", 1), None, None, None, None, "failed", "killed")
    assert "(1 failed, 2 not tried)" in settings.lines(of(result, rows=(ROWS[0], failed)))[1]


def test_mixing_has_its_sentence_where_it_gained(result):
    assert len(settings.lines(of(result))) == 2
    assert settings.lines(of(result, gained=0.0125))[2] == (
        "Heads of several settings side by side are worth 0.0125 more than any one's."
    )


def test_the_summary_is_json_and_says_the_same(result):
    summary = json.loads(json.dumps(settings.summary(of(result, interrupted=True)), allow_nan=False))
    assert (summary["settings"], summary["settings_proved"], summary["interrupted"]) == (4, False, True)
    assert (summary["settings_study"], summary["gained_by_mixing"]) == ("settings-1", 0)
    assert summary["setting"]["dtype"] == "fp32"
    assert [row["state"] for row in summary["tried"]] == ["tried", "tried", "pruned", "impossible"]
    assert [row["value"] for row in summary["tried"]] == [0.48, 0.52, 0.31, None]
    assert summary["tried"][3]["reason"] == "there is no bf16 here"
    assert summary["tried"][1]["setting"]["heads"] == {"gah": {"stride": 2}}
