"""Counts, and recordings: from data to a searched model by the commands alone, on small work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import make_counts
import make_spoken_digits
import pytest

import exitsearch
from exitsearch.cli.main import main

MODEL = ["--model", "test_vit", "--in-chans", "1", "--image-size", "32", "--no-pretrained"]
HEADS = ["--heads", "linear,mlp", "--placements", "0,3", "--threads", "1"]
COSTS = "part,placement,head,latency_ms\n" + "".join(f"segment,{place},,10\n" for place in range(6)) + "final,,,10\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    heads = "".join(f"head,{place},{head},1\n" for place in (0, 3) for head in ("linear", "mlp"))
    (tmp_path / "costs.csv").write_text(COSTS + heads)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run a command that must succeed; returns what it printed on stdout."""
    status = main(argv)
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return captured.out


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(capsys, *argv, "--json"))
    return found


def test_counts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts of 0 to 90 in four tiles: errors of pictures, far below those of an untrained head, in both policies."""
    made = ["--count", "150", "--size", "64", "--tiles", "2", "--most", "90"]
    assert make_counts.main(["--out", "counts", *made]) == 0
    capsys.readouterr()
    train = ["train-heads", *MODEL, *HEADS, "--data", "counts", "--metric", "mae", "--augment", "flip", "--out", "o"]
    text = run(capsys, *train)
    assert "in brackets as a share of the best constant answer's" in " ".join(text.split())
    outcomes = exitsearch.load_outcomes("o")
    assert outcomes.metric == "mae"
    assert outcomes.splits == {"choice": 30, "report": 30}
    assert outcomes.constant_errors["choice"] == pytest.approx(outcomes.fallback)
    for head in outcomes.heads:
        share = outcomes.relative_error(head.scores["choice"])
        assert share is not None
        assert share < 1.2, head
    values = {}
    for policy in ("interruptible", "contract"):
        search = ["search", "--profile", "costs.csv", "--outcomes", "o", "--metric", "mae", "--policy", policy]
        found = run_json(capsys, *search, "--budget-dist", "uniform:5,80", "--trials", "4", "--out", policy)
        assert found["regret"] == 0
        values[policy] = found["value"]
    # Knowing the budget is worth something, and no answer is worse than the constant one by more than a fifth.
    assert -1.2 * outcomes.constant_errors["choice"] < values["interruptible"] <= values["contract"] < 0
    assert exitsearch.load_config("contract").backbone.input_size == (1, 32, 32)


def test_recordings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Melodies of ten digits: heads trained over one channel, searched, and the chosen model trained and read back."""
    assert make_spoken_digits.main(["--out", "melodies", "--count", "100", "--tones"]) == 0
    capsys.readouterr()
    data = ["--data", "audio-folder:melodies", "--augment", "specaugment"]
    text = run(capsys, "train-heads", *MODEL, *HEADS, *data)
    assert "accuracy of every head over test_vit on the choice split (20 samples)" in " ".join(text.split())
    assert (folder / "outcomes" / "test_vit__melodies" / "outcomes.json").exists()
    search = ["search", *MODEL, "--profile", "costs.csv", "--outcomes", "outcomes/test_vit__melodies"]
    run(capsys, *search, "--budget-dist", "uniform:5,80", "--trials", "4", "--force", "0:linear", "--out", "chosen")
    found = run_json(capsys, "train", "--config", "chosen", "--no-pretrained", *data, "--threads", "1")
    assert set(found["scores"]) == {"choice", "report"}
    model = exitsearch.load_model(found["folder"])
    assert model.backbone.input_size == (1, 32, 32)
