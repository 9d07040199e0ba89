"""Pictures with sounds: from scenes to a trained model that hears, by the commands alone, on small work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import make_sounding_counts
import pytest
import torch

import exitsearch
from exitsearch.cli.main import main
from exitsearch.specs.load import load_config, load_profile

HEARING = "sl_vit(num_heads=2,side=audio,width=16)"
SIDE = ["--side", "audio=1x8x16"]
HEADS = ["--heads", f"linear,{HEARING}", "--placements", "0,3", "--threads", "1"]
DATA = ["--data", "scenes", "--metric", "mae", "--epochs", "1", "--workers", "0"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.chdir(tmp_path)
    assert make_sounding_counts.main(["--out", "scenes", "--count", "20", "--size", "8"]) == 0
    capsys.readouterr()
    return tmp_path


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    status = main([*argv, "--json"])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    found: dict[str, Any] = json.loads(captured.out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_profile_train_search_and_load(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is declared once, in the profile and for the heads, goes with every document from there on."""
    run_json(capsys, "profile", "--num-outputs", "1", *SIDE, *HEADS, "--max-seconds", "0.1", "--out", "p.json")
    assert load_profile("p.json").backbone.side_inputs == {"audio": (1, 8, 16)}
    run_json(capsys, "train-heads", *SIDE, *HEADS, *DATA, "--out", "o")
    assert exitsearch.load_outcomes("o").backbone.side_inputs == {"audio": (1, 8, 16)}
    found = run_json(
        capsys, "search", "--profile", "p.json", "--outcomes", "o", "--metric", "mae", "--trials", "2", "--no-guard",
        "--budget-dist", "uniform:10%,100%", "--force", f"3:{HEARING}", "--out", "chosen",
    )  # fmt: skip
    assert found["regret"] == 0
    config = load_config("chosen")
    assert config.backbone.side_inputs == {"audio": (1, 8, 16)}
    assert {"num_heads": 2, "side": "audio", "width": 16} in [exit_.options for exit_ in config.exits]
    trained = run_json(capsys, "train", "--config", "chosen", *DATA, "--threads", "1", "--out", "trained")
    model = exitsearch.load_model("trained")
    x, audio = torch.zeros(2, 1, 8, 8), torch.rand(2, 1, 8, 16)
    with torch.no_grad():
        answers = model(x, audio=audio)
        assert all(torch.equal(a, b) for a, b in zip(answers, model.iter_exits(x, audio=audio), strict=True))
        silent = model(x, audio=torch.zeros_like(audio))
    assert len(answers) == len(config.exits) + 1 == len(trained["scores"]["report"])
    hears = [exit_.head == "sl_vit" for exit_ in config.exits]
    assert [not torch.equal(a, b) for a, b in zip(answers, silent, strict=True)] == [*hears, False]


def test_heads_that_a_search_trains_on_the_way_hear_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The profile says which side inputs there are; nothing has to be declared again."""
    run_json(capsys, "profile", "--num-outputs", "1", *SIDE, *HEADS, "--max-seconds", "0.1", "--out", "p.json")
    asked = ["--profile", "p.json", *DATA, "--heads", HEARING, "--placements", "3", "--force", "3", "--all"]
    run_json(capsys, "search", "--budget-dist", "uniform:10%,100%", "--trials", "0", "--no-guard", "--out", "c", *asked)
    assert [exit_.options["side"] for exit_ in load_config("c").exits] == ["audio"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["profile", *HEADS], "the side inputs of the model are: none; declare it with --side audio="),
        (["profile", "--side", "audio"], "side inputs are written NAME=CHANNELSxHEIGHTxWIDTH"),
        (["train-heads", *SIDE, *HEADS, "--data", "digits"], "the split heads of digits comes with none"),
        (["train-heads", "--side", "smell=1x2x3", *HEADS[2:], *DATA], "the column smell is missing"),
    ],
)
def test_wrong_input(folder: Path, capsys: pytest.CaptureFixture[str], argv: list[str], words: str) -> None:
    assert words in refused(capsys, *argv)
