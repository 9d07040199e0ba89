"""`exitsearch profile` with its outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exitsearch.cli.main import main
from exitsearch.specs.profile import Profile

QUICK = ["profile", "--heads", "linear", "--placements", "0,5", "--threads", "1", "--max-seconds", "0.01"]


def test_every_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    extras = ["--costs-csv", "costs.csv", "--plot", "plot.html", "--flops", "--batch-size", "1,2"]
    assert main([*QUICK, *extras]) == 0
    shown = capsys.readouterr().out
    assert "GFLOPs" in shown
    assert "bs1__eager" in shown
    assert "bs2__eager" in shown
    (path,) = (tmp_path / "profiles").glob("*bs1-2__eager.json")
    profile = Profile.read(path)
    table = Profile.from_costs_csv("costs.csv", backbone=profile.backbone.name)
    assert table.path_ms([(0, "linear"), (5, "linear")]) == pytest.approx(
        profile.path_ms([(0, "linear"), (5, "linear")])
    )
    assert "<svg" in Path("plot.html").read_text()
    assert main(["check", str(path)]) == 0
    assert "verdict at batch size 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--plot", "plot.gif"], "ends in .png or .html, found plot.gif"),
        (["--plot", "plot.png", "--counts-only"], "--plot draws times"),
        (["--batch-size", "1,x"], "whole number from 1"),
        (["--batch-size", "8,8"], "each batch size once"),
        (["--runtime", "cudagraph"], "--runtime cudagraph needs a CUDA device"),
    ],
)
def test_wrong_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*QUICK, *argv]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_counts_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--counts-only", "--heads", "linear", "--out", str(tmp_path / "c.json"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["full_ms"] is None
    assert facts["wrote"] == [str(tmp_path / "c.json")]
