"""Tables of outcomes and of trained exits, and the numbers that `--json` gives of profiles and outcomes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rendering import WIDTHS, columns, sentences, shown, toy_outcomes, toy_profile, toy_result

import exitsearch
from exitsearch.report.terminal import outcomes as report
from exitsearch.report.terminal import profile as profile_report
from exitsearch.report.terminal.layout import rows_table
from exitsearch.report.terminal.trained import trained_table
from exitsearch.specs.profile import Profile

RECORDED = Path(__file__).parents[2] / "data" / "profile_v1.json"


@pytest.fixture
def outcomes(tmp_path):
    return toy_outcomes(tmp_path / "outcomes")


@pytest.mark.parametrize("width", WIDTHS)
def test_scores_of_every_head(outcomes, width):
    text = shown(report.outcomes_table(outcomes), width=width)
    assert sentences(text).startswith("accuracy of every head over toy on the choice split (10 samples)")
    assert columns(text) == {"placement": "01", "a": "0.60000.8000", "b(k=2)": "0.7000"}
    assert report.final_line(outcomes) == "final exit, the backbone's own: 0.9000"


def test_scores_of_another_split(outcomes):
    frame = report.outcomes_frame(outcomes, "report")
    assert frame.loc[0].to_dict() == {"a": 0.5, "b(k=2)": 0.7}
    assert frame.loc[1, "a"] == 0.6


def test_summary_of_outcomes(outcomes):
    summary = json.loads(json.dumps(report.outcomes_summary(outcomes)))
    assert summary == {
        "backbone": "toy",
        "metric": "accuracy",
        "splits": {"choice": 10, "report": 10},
        "final": {"choice": 0.9, "report": 0.8},
        "best": {"choice": [1, "a"], "report": [0, "b(k=2)"]},
    }


@pytest.mark.parametrize("width", WIDTHS)
def test_errors_stand_beside_the_constant_answers(outcomes, width):
    """Errors 0.6, 0.8, 0.9 and 0.7 where the constant has 2: 30%, 40%, 45% and 35% of it; 0.8 of 1.6 is half."""
    regression = outcomes.model_copy(update={"metric": "mae", "constant_errors": {"choice": 2.0, "report": 1.6}})
    text = shown(report.outcomes_table(regression), width=width)
    assert "in brackets as a share of the best constant answer's" in sentences(text)
    assert columns(text) == {"placement": "01", "a": "0.6(30%)0.8(40%)", "b(k=2)": "0.7(35%)"}
    assert report.final_line(regression) == "final exit, the backbone's own: 0.9 (45%)"
    assert report.outcomes_summary(regression)["final_relative_error"] == {"choice": 0.45, "report": 0.5}


@pytest.mark.parametrize("width", WIDTHS)
def test_trained_exits_beside_what_was_predicted(tmp_path, width):
    config = toy_result(tmp_path).config
    scores = {"choice": [0.5, 0.8, 0.95], "report": [0.4, 0.7, 0.9]}
    text = shown(trained_table(config, scores), width=width)
    assert text.startswith("accuracy of every exit: predicted by the search, and after training")
    found = columns(text)
    assert found["exit"] == "01final"
    assert found["choicepredicted"] == "0.60000.80000.9000"
    assert found["choicetrained"] == "0.50000.80000.9500"
    assert found["reportpredicted"] == "0.50000.60000.8000"
    assert found["reporttrained"] == "0.40000.70000.9000"
    if width > 80:  # where they are left out, that is said (tests of the layout)
        assert found["choicedifference"] == "-0.1000+0.0000+0.0500"
    assert found["reportdifference"] == "-0.1000+0.1000+0.1000"


@pytest.mark.parametrize("width", WIDTHS)
def test_published_scores_are_whole(width):
    outcomes = exitsearch.load_outcomes("published:mevit-cifar100")
    found = columns(shown(report.outcomes_table(outcomes), width=width))
    placements, *heads = found
    assert (placements, found[placements]) == ("placement", "012345678910")
    frame = report.outcomes_frame(outcomes)
    assert heads == list(frame)
    for head in heads:
        assert found[head] == "".join(f"{score:.4f}" for score in frame[head])


def test_a_split_that_was_not_predicted_has_no_difference(tmp_path):
    config = toy_result(tmp_path).config
    found = columns(shown(trained_table(config, {"test": [0.5, 0.8, 0.95]})))
    assert (found["testpredicted"], found["testtrained"], found["testdifference"]) == ("", "0.50000.80000.9500", "")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_recorded_profile_loses_nothing(width):
    profile = Profile.read(RECORDED)
    segments, heads = profile_report.profile_tables(profile)
    found = columns(shown(segments, width=width))
    assert found["placement"] == "".join(str(s.placement) for s in profile.segments) + "final"
    times = [s.latency_ms for s in profile.segments] + [profile.final.latency_ms]
    assert found["ms"] == "".join(f"{ms:.3f}" for ms in times)
    assert found["arrivesms"].endswith(f"{profile.full_ms:.3f}")
    assert found["sofar"].endswith("100.0%")
    names = list(dict.fromkeys(head.head for head in profile.heads))
    assert columns(shown(heads, width=width))["head"] == "".join(names)


def test_sentences_below_a_profile():
    """Three parts of 1 GMAC each; 2 + 3 + 3 ms."""
    profile = toy_profile(macs=10**9)
    assert profile_report.profile_lines(profile) == [
        "backbone: 3.0000 GMACs (1 MAC = 2 FLOPs)",
        "full model: 8.000 ms as the sum of its parts",
        f"verdict: {profile.verdict}",
    ]


def test_summary_of_a_profile():
    summary = json.loads(json.dumps(profile_report.profile_summary(toy_profile())))
    assert (summary["full_ms"], summary["whole_ms"], summary["placements"], summary["heads"]) == (8, None, 2, 3)
    assert summary["verdict"]["status"] == "ok"
    recorded = Profile.read(RECORDED)
    assert profile_report.profile_summary(recorded)["whole_ms"] == recorded.whole.latency_ms


@pytest.mark.parametrize("width", WIDTHS)
def test_rows_of_any_kind(width):
    rows = [
        {"name": "a head with a long name", "ms": 1.5, "count": 3, "known": True, "reason": None},
        {"name": "b", "ms": 1e-7, "count": 12, "known": False, "reason": "of its own"},
    ]
    found = columns(shown(rows_table("Some rows", rows), width=width))
    assert found == {
        "name": "aheadwithalongnameb",
        "ms": "1.51e-07",
        "count": "312",
        "known": "TrueFalse",
        "reason": "ofitsown",
    }


def test_a_table_without_rows_is_its_title():
    assert shown(rows_table("Nothing", [])).strip() == "Nothing"
