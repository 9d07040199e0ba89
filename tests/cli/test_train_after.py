"""`exitsearch train` with what it does after training, from end to end."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import exitsearch
from exitsearch.cli.main import main

CANDIDATES = ["--heads", "linear", "--placements", "1,5"]


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    status = main([*argv, "--json"])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    found: dict[str, Any] = json.loads(captured.out)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Profile, bank and choice over the embedded backbone with random weights, so that nothing is fetched."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["profile", *CANDIDATES, "--threads", "1", "--max-seconds", "0.1", "--precision", "50%"]) == 0
        assert main(["train-heads", *CANDIDATES, "--epochs", "1", "--no-pretrained"]) == 0
        assert main(["search", "--budget-dist", "uniform:10%,120%", "--trials", "0", "--force", "5"]) == 0
    return folder


def test_after_training(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    argv = ["train", "--config", "exitsearch-out", "--epochs", "1", "--no-pretrained", "--threads", "1"]
    found = run_json(capsys, *argv, "--refine", "--compare", "test_resnet", "--max-seconds", "0.2")
    # The same bank again: predicted is what is trained, and the choice stands.
    assert found["scores"] == found["predicted"]
    assert found["after"]["trained"]["value"] == pytest.approx(found["after"]["predicted"]["value"], abs=1e-9)
    assert found["after"]["again"]["gain"] == pytest.approx(0.0, abs=1e-9)
    refined = exitsearch.load_config(found["refined"])
    assert [e.placement for e in refined.exits] == [e.placement for e in exitsearch.load_config("exitsearch-out").exits]
    assert len(exitsearch.load_model(found["refined"]).heads) == len(refined.exits)
    folder = Path(found["folder"])
    with (folder / "accuracy_over_budget.csv").open() as file:
        kinds = {row["kind"] for row in csv.DictReader(file)}
    assert kinds == {"multi-exit", "backbone", "static", "oracle"}
    assert (folder / "accuracy_over_budget.png").exists()
    # For people, with another profile named: the chart by its times, nothing trained anew.
    (profile,) = Path("profiles").glob("*.json")
    assert main([*argv, "--profile", str(profile)]) == 0
    out = capsys.readouterr().out
    for text in ("predicted", "the best choice now", "oracle exit (a bound)", "Times: the profile vit_digits"):
        assert text in out


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--compare", "no_such_net"], "unknown model 'no_such_net' in --compare"),
        (["--compare", "test_vit@0"], "with a side in pixels"),
        (["--profile", "nowhere.json"], "nowhere.json: no such file"),
    ],
)
def test_wrong_input_is_said_before_any_training(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, more: list[str], sentence: str
) -> None:
    monkeypatch.chdir(place)
    assert main(["train", "--config", "exitsearch-out", "--out", "untouched", *more]) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("untouched").exists()


def test_refine_needs_the_profile(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--config", str(place / "exitsearch-out"), "--out", "untouched", "--refine"]) == 2
    error = capsys.readouterr().err
    assert "--refine asks the search again" in error
    assert "is not in profiles" in error
    assert not Path("untouched").exists()
