"""The example that searches over knobs from Python, at its smallest size."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

EXAMPLE = Path(__file__).parents[2] / "examples" / "search_knobs.py"


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    body = EXAMPLE.read_text().partition("def main(")[2].partition("if __name__")[0]
    assert len([line for line in body.splitlines() if line.strip()]) <= 15
    module = runpy.run_path(str(EXAMPLE))
    model = module["main"](epochs=1, max_seconds=0.1, trials=2, placements="2,5")
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 3
    assert told[-1].endswith("over 12")
    assert len(model(torch.zeros(1, 1, 8, 8))) >= 1
    assert (tmp_path / "exitsearch-out" / "chosen.json").exists()
