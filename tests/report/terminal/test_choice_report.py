"""What is shown of a search: tables, sentences and the JSON, of one whose numbers are known by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from rendering import WIDTHS, columns, columns_of, sentences, shown, toy_outcomes, toy_profile, toy_result

import exitsearch
from exitsearch.report.terminal import choice
from exitsearch.search.result import BaselineRow
from exitsearch.search.sensitivity import SensitivityRow
from exitsearch.specs.config import Untrained


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return toy_result(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def confident(tmp_path_factory):
    return toy_result(tmp_path_factory.mktemp("confident"), policy="confidence")


def test_the_choice_as_it_stands(found):
    lines = shown(choice.renderable(found), width=100).splitlines()
    assert lines[0] == "The choice"
    assert [line.split() for line in lines[4:6]] == [
        ["0", "blocks.0", "a", "1", "3", "0.6000", "0.5000", "40.0%"],
        ["1", "blocks.1", "a", "1", "7", "0.8000", "0.6000", "30.0%"],
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_off(found, confident, width):
    for result in (found, confident):
        text = shown(choice.renderable(result), width=width)
        chosen, beside = text.split("Beside the baselines")
        hidden = {} if width > 80 else {"module": columns_of(choice.choice_rows(result))["module"]}
        assert columns(chosen) | hidden == columns_of(choice.choice_rows(result))
        assert columns(beside.split("- Expected")[0]) == columns_of(choice.shown_baselines(result))
        for sentence in choice.lines(result):
            assert sentence in sentences(text)
    assert columns("Operating points" + beside.split("Operating points")[1]) == columns_of(choice.point_rows(confident))


def test_the_final_exit_is_the_last_row(found):
    final = choice.choice_rows(found)[-1]
    assert (final["placement"], final["head"], final["answers at ms"]) == ("final", "(the backbone's own)", 10)
    assert (final["accuracy (choice)"], final["accuracy (report)"], final["chance"]) == ("0.9000", "0.8000", "0.0%")


def test_sentences_by_hand(found):
    """See `toy_result`; no answer while the budget is below 3 ms."""
    assert [line for line in choice.lines(found) if "95%" not in line] == [
        "Expected accuracy under uniform:0,10 ms, interruptible: 0.4800 on the choice split.",
        "Exact optimum 0.4800, regret 0.",
        "Were every budget known beforehand, the same exits would be worth 0.5200 (price of not knowing 0.0400), the "
        "best ones 0.5200.",
        "Chance that no answer is in time: 30.0%.",
    ]
    (held_out,) = (line for line in choice.lines(found) if "95%" in line)
    assert held_out.startswith("Held out, on the report split: 0.3800 (95% interval 0.")
    assert held_out.endswith("; optimism +0.1000.")
    low, high = found.interval
    assert f"interval {low:.4f} to {high:.4f})" in held_out
    assert low < 0.38 < high


def test_baselines_stand_from_the_best_to_the_worst(found):
    rows = choice.baseline_rows(found)
    assert rows[0]["what"] == "exitsearch (the choice)"
    assert [row["expected value"] for row in rows] == sorted((row["expected value"] for row in rows), reverse=True)
    by_name = {row["what"]: row for row in rows}
    assert by_name["backbone alone"] == {
        "what": "backbone alone",
        "exits": 0,
        "expected value": "0.1800",
        "below the choice": "0.3000",
        "held out": "0.1600",
    }
    assert by_name["best single exit"]["expected value"] == "0.4500"


def test_without_a_report_split_nothing_is_held_out(tmp_path):
    (tmp_path / "values.csv").write_text("placement,head,value\n0,a,0.6\n0,b(k=2),0.7\n1,a,0.8\nfinal,,0.9\n")
    outcomes = exitsearch.load_outcomes(tmp_path / "values.csv")
    result = exitsearch.search(toy_profile(), outcomes, budget="uniform:0,10", trials=0)
    assert "heldout" not in columns(shown(choice.renderable(result)).split("Beside")[1])
    assert "on the given split" in choice.lines(result)[0]
    assert not any("Held out" in line for line in choice.lines(result))
    assert {"accuracy (given)"} == {key for key in choice.choice_rows(result)[0] if "accuracy" in key}
    assert choice.summary(result)["held_out"] is None


def test_trials_and_memory_have_their_sentences(tmp_path):
    profile = toy_profile(weight_bytes=2**20, activation_bytes=2**19)
    outcomes = toy_outcomes(tmp_path / "outcomes")
    result = exitsearch.search(profile, outcomes, budget="uniform:0,10", trials=3)
    text = sentences("\n".join(choice.lines(result)))
    assert "Optuna: 3 trials in study " in text
    # Two segments, the end and two heads of 1 MiB each; a unit holds half a MiB before it and half a MiB after.
    assert "Memory: weights of 5 MiB with those of the exits; at most 1 MiB of activations" in text
    assert choice.summary(result)["memory"]["weight_bytes"] == 5 * 2**20


def test_measured_noise_is_said(tmp_path):
    profile = toy_profile().model_copy(update={"slowdown": [0.9, 1.0, 1.1]})
    result = exitsearch.search(profile, toy_outcomes(tmp_path / "outcomes"), budget="uniform:0,10", trials=0)
    first = choice.lines(result)[0]
    assert f"{result.value:.4f} on the choice split with the measured latency noise" in first
    assert first.endswith(f", {result.value_medians:.4f} with every latency at its median.")
    assert result.value_medians == pytest.approx(0.48)


def test_confidence_says_what_it_does(confident):
    text = sentences("\n".join(choice.lines(confident)))
    assert "No choice can be worth more than" in text
    assert "(not proved)" in text
    points = choice.point_rows(confident)
    assert f"Confidence is softmax; {len(points)} operating points" in text
    assert "a budget limits the mean latency." in text
    # Everything leaves at the first exit after 3 ms, at the second alone after 6 ms, at the end alone after 8 ms.
    assert [row["budget from ms"] for row in points] == ["3", "6", "8"]
    assert [row["exit rates"] for row in points] == ["100%  0%  0%", "0%  100%  0%", "0%  0%  100%"]
    assert [row["accuracy (choice)"] for row in points] == ["0.6000", "0.8000", "0.9000"]
    assert [row["mean ms (report)"] for row in points] == ["3", "6", "8"]
    assert points[-1]["thresholds"] == "off  off"


def test_a_quantile_is_named(tmp_path):
    result = toy_result(tmp_path, policy="confidence", quantile=0.95)
    assert "the 0.95 quantile of the latency over inputs" in sentences("\n".join(choice.lines(result)))
    assert "0.95 quantile ms (report)" in choice.point_rows(result)[0]


def test_many_operating_points_are_thinned_on_the_terminal(confident, monkeypatch):
    monkeypatch.setattr(choice, "_POINTS_SHOWN", 2)
    text = shown(choice.renderable(confident))
    assert "Operating points (2 of 3, all in chosen.json)" in text


def test_the_policies_without_thresholds_have_no_points(found):
    assert choice.point_rows(found) == []
    assert "Operating points" not in shown(choice.renderable(found))


@pytest.mark.parametrize("width", WIDTHS)
def test_other_worlds(width):
    rows = [
        SensitivityRow("budgets exponential:5", 0.4, 0.45, 0.05, 2),
        SensitivityRow("latency 10% longer", 0.3, 0.3, 0.0, 1),
    ]
    text = shown(*choice.sensitivity_table(rows), width=width)
    assert text.startswith("Were it otherwise (budgets of a family have the same mean)")
    found = columns(text)
    assert found["world"] == "budgetsexponential:5latency10%longer"
    assert (found["thechoice"], found["bestthere"], found["loss"]) == ("0.40000.3000", "0.45000.3000", "0.05000.0000")
    assert choice.sensitivity_table([]) == []


def test_the_summary_is_json_and_says_the_same(found):
    summary = json.loads(json.dumps(choice.summary(found), allow_nan=False))
    assert summary["value"] == pytest.approx(0.48)
    assert (summary["regret"], summary["exact"]) == (0, True)
    assert summary["held_out"] == pytest.approx(0.38)
    assert summary["optimism"] == pytest.approx(0.1)
    assert summary["contract_value"] == pytest.approx(0.52)
    assert summary["price_of_not_knowing"] == pytest.approx(0.04)
    assert summary["no_answer"] == pytest.approx(0.3)
    assert summary["by_count"] == [[0, pytest.approx(0.18)], [1, pytest.approx(0.45)], [2, pytest.approx(0.48)]]
    assert [(e["placement"], e["head"]) for e in summary["config"]["exits"]] == [(0, "a"), (1, "a")]
    alone = next(row for row in summary["baselines"] if row["name"] == "backbone alone")
    assert alone["exits"] == []
    assert alone["value"] == pytest.approx(0.18)
    assert "front" not in summary


def test_budgets_are_said_as_they_were_asked_for(tmp_path):
    result = toy_result(tmp_path, budget="uniform:10%,33.3%", trials=0)
    assert choice.lines(result)[0].startswith(
        "Expected accuracy under uniform:10%,33.3% of the full model's 8 ms (uniform:0.8,2.664 ms), interruptible: "
    )


def test_the_answer_in_one_sentence(found):
    """0.48 against the best rule of thumb, head a at every placement, which is the choice; next the command."""
    assert choice.answer(found, next_step="train") == (
        "2 exits; 0.4800 expected, 0.3800 held out; as good as the best rule of thumb (a at every placement); "
        "next: train"
    )
    rows = [
        BaselineRow("backbone alone", (), 0.18, 0.16),
        BaselineRow("best single exit", ((0, "a"),), 0.45, 0.38),
        BaselineRow("greedy adding", ((0, "a"), (1, "a")), 0.48, 0.38),
        BaselineRow("the choice, greedy thresholds", ((0, "a"), (1, "a")), 0.47, None),
    ]
    beaten = replace(found, baselines=rows)
    assert "; 0.0300 above the best rule of thumb (best single exit); " in choice.answer(beaten, next_step="train")
    better = replace(found, baselines=[BaselineRow("a equally spaced", ((0, "a"),), 0.5, None)], held_out=None)
    assert choice.answer(better, next_step="train").startswith(
        "2 exits; 0.4800 expected; 0.0200 below the best rule of thumb (a equally spaced); "
    )
    assert choice.answer(replace(found, baselines=[]), next_step="x") == (
        "2 exits; 0.4800 expected, 0.3800 held out; next: x"
    )


def test_an_error_is_said_as_an_error(tmp_path):
    """Budgets uniform from 0 to 10; without an answer the error is 3: 3 - 1.1 * 0.7 - 1.1 * 0.3, the backbone never."""
    (tmp_path / "values.csv").write_text("placement,head,value\n0,a,1.9\n1,a,0.8\nfinal,,0.4\n")
    outcomes = exitsearch.load_outcomes(tmp_path / "values.csv", metric="mae")
    result = exitsearch.search(toy_profile(), outcomes, budget="uniform:0,10", fallback=3.0, trials=0)
    assert result.value == pytest.approx(-1.9)
    assert choice.answer(result, next_step="x").startswith("2 exits; expected mae 1.9000; as good as the best rule")


def many(found):
    """Twelve baselines from 0.47 downwards, the three that everybody asks for last."""
    rows = [BaselineRow(f"h{n} equally spaced", ((0, "a"),), 0.47 - n / 100, 0.3) for n in range(9)]
    rows += [BaselineRow(name, (), 0.1, 0.1) for name in ("greedy adding", "best single exit", "backbone alone")]
    return replace(found, baselines=rows)


def test_at_most_eight_baselines_and_the_best_rule_of_thumb_is_marked(found):
    names = [row["what"] for row in choice.shown_baselines(many(found))]
    assert names == [
        "exitsearch (the choice)", "h0 equally spaced *", "h1 equally spaced", "h2 equally spaced",
        "h3 equally spaced", "h4 equally spaced", "greedy adding", "best single exit", "backbone alone",
    ]  # fmt: skip
    text = sentences(shown(choice.renderable(many(found))))
    assert "(8 of 12; --all-baselines shows the others); * is the best rule of thumb" in text
    assert len(choice.shown_baselines(many(found), all_of_them=True)) == 13
    assert "--all-baselines" not in shown(choice.renderable(many(found), all_baselines=True))


@pytest.mark.parametrize(
    ("exits", "assumption", "sentence"),
    [
        ([], None, "3 of 3 candidates trained: no other could add anything."),
        (["0:b"], None, "2 of 3 candidates trained; the rest could add at most 0.0250 (if they were always right)."),
        (["0:b"], "such", "2 of 3 candidates trained; the rest could add at most 0.0250 (taking for granted: such)."),
    ],
)
def test_what_untrained_candidates_could_add(found, exits, assumption, sentence):
    untrained = Untrained(
        candidates=3, trained=3 - len(exits), value=0.505, could_add=0.025, assumption=assumption, exits=exits
    )
    optimum = found.config.optimum.model_copy(update={"untrained": untrained})
    result = replace(found, config=found.config.model_copy(update={"optimum": optimum}))
    assert sentence in choice.lines(result)
    trained = "of the trained candidates" in choice.lines(result)[1]
    assert trained == ("the best trained ones" in " ".join(choice.lines(result))) == bool(exits)
    assert choice.summary(result)["untrained"]["could_add"] == 0.025
    assert choice.summary(found)["untrained"] is None


def test_counts_of_untrained_candidates_must_add_up():
    with pytest.raises(ValueError, match="must add up to 3, found 3 and 1"):
        Untrained(candidates=3, trained=3, value=1.0, could_add=0.0, exits=["0:b"])
