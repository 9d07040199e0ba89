"""Outcomes, search spaces and configurations: round trips, values by hand, and one-sentence errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from exitsearch.errors import FileError, InputError, MismatchError
from exitsearch.search.valuation import fallback_value
from exitsearch.specs import BackboneFacts, MultiExitConfig, Outcomes, SearchSpace, load_outcomes, load_space
from exitsearch.specs.placement import select_placements
from exitsearch.specs.published import published_outcomes
from exitsearch.specs.question.candidates import Candidates

VALUES = "placement,head,value\n0,linear,0.5\n1,linear,0.75\nfinal,,0.9\n"


def brought(tmp_path: Path, text: str = VALUES, **options: Any) -> Outcomes:
    path = tmp_path / "values.csv"
    path.write_text(text)
    return Outcomes.from_values_csv(path, **options)


def test_values_table(tmp_path: Path) -> None:
    outcomes = brought(tmp_path)
    assert outcomes.values() == {(0, "linear"): 0.5, (1, "linear"): 0.75}
    assert outcomes.final_value() == 0.9
    assert (outcomes.choice_split, outcomes.report_split) == ("given", None)
    assert outcomes.samples("given") is None
    assert fallback_value(outcomes, None) == 0.0


def test_an_error_metric_is_turned_into_a_value(tmp_path: Path) -> None:
    outcomes = brought(tmp_path, VALUES.replace("0.5", "12.5"), metric="mae")
    assert outcomes.values()[0, "linear"] == -12.5
    with pytest.raises(InputError, match="--fallback"):
        fallback_value(outcomes, None)
    assert fallback_value(outcomes, 40.0) == -40.0
    with pytest.raises(InputError, match="at least 0"):
        fallback_value(outcomes, -1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("value", "score"), "the column value is missing; needed: placement,head,value; found: placement,head,score"),
        (("0.75", "1.75"), "row 3: an accuracy is in 0..1, found 1.75"),
        (("0.75", ""), "finite number"),
        (("1,linear", "0,linear"), "stands there twice"),
        (("final,,0.9\n", ""), "no row `final,,VALUE`"),
        (("1,linear", "final,"), "final stands there twice"),
    ],
)
def test_wrong_values_tables(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    with pytest.raises(FileError) as caught:
        brought(tmp_path, VALUES.replace(*change))
    assert words in str(caught.value)


def folder(tmp_path: Path) -> Path:
    document = {
        "schema_version": 1,
        "backbone": {"name": "some_vit", "input_size": [3, 8, 8], "num_outputs": 2},
        "metric": "accuracy",
        "fallback": 0.0,
        "splits": {"choice": 2, "report": 2},
        "heads": [{"placement": 0, "head": "linear", "scores": {"choice": 1.0, "report": 1.0}}],
        "final": {"scores": {"choice": 1.0, "report": 1.0}},
    }
    Outcomes.parse(document, "x").write(tmp_path / "outcomes.json")
    answers = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    save_file({"labels": np.array([0, 1]), "0/linear": answers, "final": answers}, str(tmp_path / "choice.safetensors"))
    return tmp_path


def test_samples_of_a_folder(tmp_path: Path) -> None:
    outcomes = load_outcomes(folder(tmp_path), backbone="some_vit")
    assert (outcomes.choice_split, outcomes.report_split) == ("choice", "report")
    samples = outcomes.samples("choice")
    assert samples is not None
    assert samples.outputs[0, "linear"].shape == (2, 2)
    with pytest.raises(FileError, match=r"report.safetensors: no such file"):
        outcomes.samples("report")
    (tmp_path / "report.safetensors").write_bytes(b"half a file")
    with pytest.raises(FileError, match="not a valid safetensors"):
        outcomes.samples("report")
    save_file({"labels": np.array([0, 1])}, str(tmp_path / "report.safetensors"))
    with pytest.raises(FileError, match="0/linear"):
        outcomes.samples("report")
    with pytest.raises(MismatchError, match="of backbone some_vit, --model asks for another"):
        load_outcomes(tmp_path, backbone="another")


IDENTITY = "370c11bf3edde517"


def test_outcomes_from_before_calibration_keep_their_identity(tmp_path: Path) -> None:
    """As it was before the keys `calibration` and `dropped` were known."""
    outcomes = load_outcomes(folder(tmp_path))
    assert outcomes.identity == IDENTITY
    assert not {"calibration", "dropped"} & outcomes.model_dump(mode="json").keys()
    calibration = {"temperature": 1.5, "ece": {"choice": 0.1}, "raw_ece": {"choice": 0.2}, "auroc": {"choice": None}}
    document = outcomes.model_dump(mode="json")
    document["heads"][0]["calibration"] = calibration
    document["dropped"] = [{"placement": 3, "head": "mlp", "reason": "its loss became nan"}]
    more = Outcomes.parse(document, "x")
    assert more.identity != IDENTITY
    assert Outcomes.parse(more.model_dump(mode="json"), "x") == more
    assert str(more.dropped[0]) == "mlp at placement 3 was dropped: its loss became nan"


def test_backbones_are_compared() -> None:
    one = BackboneFacts(name="a", input_size=(3, 8, 8), num_outputs=10)
    assert one.check_same(BackboneFacts(name=None), mine="x", others="y") == []
    (warning,) = one.check_same(BackboneFacts(name="a", num_outputs=100), mine="the profile", others="the outcomes")
    assert "--num-outputs 100" in warning
    for other in (BackboneFacts(name="b"), BackboneFacts(name="a", input_size=(3, 9, 9))):
        with pytest.raises(MismatchError, match="the profile is of backbone a"):
            one.check_same(other, mine="the profile", others="the outcomes")


CHOSEN = {
    "schema_version": 1,
    "backbone": {"name": "some_vit"},
    "exits": [{"placement": 1, "head": "gah", "options": {"stride": 2}}],
    "policy": "interruptible",
    "budget": "uniform:1,2",
    "expected": {"value": 0.5, "metric": "accuracy", "policy": "interruptible", "split": "given"},
    "optimum": {"value": 0.5, "exact": True, "regret": 0.0},
    "latency_ms": [1.0, 2.0],
    "profile": {},
    "outcomes": {},
}


def test_configuration_reads_back(tmp_path: Path) -> None:
    config = MultiExitConfig.parse(CHOSEN, "chosen.json")
    assert str(config.exits[0].choice) == "gah(stride=2)"
    assert MultiExitConfig.read(config.write(tmp_path / "chosen.json")) == config


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"exits": [{"placement": 1, "head": "a"}, {"placement": 1, "head": "b"}]}, "one a placement"),
        ({"latency_ms": [1.0]}, "latency_ms needs 2 numbers"),
        ({"optimum": {"value": 1, "exact": True, "regret": -1}}, "optimum.regret"),
        ({"policy": "hasty"}, "policy should be"),
    ],
)
def test_wrong_configurations(change: dict[str, Any], words: str) -> None:
    with pytest.raises(FileError) as caught:
        MultiExitConfig.parse({**CHOSEN, **change}, "chosen.json")
    assert words in str(caught.value)


def test_search_space(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(
        'schema_version = 1\nplacements = "0-3"\n[backbone]\nname = "some_vit"\n'
        '[[heads]]\ntype = "gah"\noptions = {stride = 2}\nplacements = "2-5"\n[[heads]]\ntype = "linear"\n'
        "[limits]\nmax_exits = 2\n"
    )
    space = load_space(path)
    allowed = Candidates.of(space=space).allowed((), 6)
    assert allowed == {"gah(stride=2)": (2, 3), "linear": (0, 1, 2, 3)}
    assert space.limits.max_exits == 2
    path.write_text("schema_version = 1\nheads = 3\n")
    with pytest.raises(FileError, match="heads should be a valid list, found 3"):
        SearchSpace.read(path)
    path.write_text("schema_version = = 1")
    with pytest.raises(FileError, match="not valid TOML"):
        SearchSpace.read(path)


@pytest.mark.parametrize(("text", "chosen"), [("0,2,4-6", [0, 2, 4, 5, 6]), ("all", list(range(8))), ("3,3,1", [1, 3])])
def test_placements_are_selected(text: str, chosen: list[int]) -> None:
    assert select_placements(text, 8) == chosen


@pytest.mark.parametrize("text", ["8", "5-2", "a", "1-", "-1", "", "1,,2"])
def test_wrong_placements(text: str) -> None:
    with pytest.raises(InputError, match="placements"):
        select_placements(text, 8)


def test_errors_relative_to_the_constant_answer() -> None:
    """5 where the constant has 20 is a quarter of it; nothing is known of a split without one, or of a 0."""
    errors = {"choice": 5.0, "report": 6.0}
    document = {
        "schema_version": 1,
        "backbone": {"name": "toy"},
        "metric": "mae",
        "fallback": 20.0,
        "splits": {"choice": 2, "report": 2},
        "heads": [],
        "final": {"scores": errors},
    }
    plain = Outcomes.parse(document, "here")
    assert plain.relative_error(5.0) is None
    assert "constant_errors" not in plain.model_dump(mode="json")
    found = Outcomes.parse({**document, "constant_errors": {"choice": 20.0, "report": 0.0}}, "here")
    assert found.relative_error(5.0) == 0.25
    assert found.relative_error(6.0, "report") is None
    assert found.identity != plain.identity
    with pytest.raises(FileError, match="constant_errors, split choice: a mean absolute error is at least 0"):
        Outcomes.parse({**document, "constant_errors": {"choice": -1.0}}, "here")


def test_outcomes_from_before_constant_errors_keep_their_identity() -> None:
    """Computed by the version before the key."""
    assert published_outcomes("mevit-cifar10").identity == "d6d02cb13831e6ac"
