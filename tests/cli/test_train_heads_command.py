"""`exitsearch train-heads`: what it prints of confidence and of probes, and outputs that are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from exitsearch.cli.main import main
from exitsearch.specs.load import load_outcomes

SMALL = ["train-heads", "--heads", "linear", "--placements", "1", "--epochs", "1", "--threads", "1", "--out", "out"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_calibration_and_outputs_that_are_kept(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--calibration"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "confidence of every exit over vit_digits_patch1_8: temperature fitted on choice" in text
    assert "AUROC" in text
    assert main([*SMALL, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["placement"], row["head"]) for row in found["calibration"]] == [(1, "linear"), (None, "final")]
    outcomes = load_outcomes(here / "out")
    assert found["calibration"][0]["temperature"] == outcomes.heads[0].calibration.temperature  # type: ignore[union-attr]
    # Asked for later, the trained heads answer again; what was chosen from them still fits.
    weights = (here / "out/heads/1__linear.safetensors").stat().st_mtime_ns
    for _ in range(2):
        assert main([*SMALL, "--keep-logits"]) == 0
    assert (here / "out/heads/1__linear.safetensors").stat().st_mtime_ns == weights
    assert load_outcomes(here / "out").identity == outcomes.identity
    samples = load_outcomes(here / "out").samples("report")
    assert samples is not None
    full = samples.outputs[1, "linear"].full()  # type: ignore[union-attr]
    assert full.shape == (400, 10)
    assert (full.argmax(axis=1) == samples.outputs[1, "linear"].argmax(axis=1)).mean() > 0.99
    assert load_outcomes(here / "out").values() == outcomes.values()


def test_a_probe_trains_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-heads", "--probe", "--placements", "0,4", "--threads", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [probe["placement"] for probe in found["probes"]] == [0, 4, None]
    first, deeper, final = (probe["score"] for probe in found["probes"])
    assert 0.85 < first < deeper
    assert final > 0.95
    assert (found["method"], found["samples"]) == ("lda", 400)
    assert list(here.iterdir()) == []
