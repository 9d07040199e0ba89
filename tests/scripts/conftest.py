"""Calls a script as a user would, and looks at the form of what it writes."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from safetensors.numpy import save_file

from exitsearch.specs.document import write_json

FACTS = ("date", "options", "machine", "versions")


SAMPLES, CLASSES = 150, 3
BACKBONE = {"name": "toy", "input_size": [1, 8, 8], "num_outputs": CLASSES}
# placement/head to the share of right answers.
SKILL = {"0/a": 0.5, "0/b": 0.6, "1/a": 0.7, "2/a": 0.8, "final": 0.9}


@dataclass(frozen=True)
class Called:
    """What came of a call.

    Attributes:
        status: exit status.
        out: what it printed.
        figures: its own keys of the file of `--json`.
        document: all of that file.
    """

    status: int
    out: str
    figures: dict[str, Any]
    document: dict[str, Any]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    """Call the main function of a script with `--json`; the file must have the form that all have."""

    def run(script: str, *argv: str | Path) -> Called:
        target = tmp_path / "figures.json"
        status = importlib.import_module(script).main([*map(str, argv), "--json", str(target)])
        document = json.loads(target.read_text())
        assert document["schema_version"] >= 1
        assert document["versions"]["torch"]
        assert document["machine"]["cores"] >= 1
        assert "json" not in document["options"]
        figures = {key: value for key, value in document.items() if key not in ("schema_version", *FACTS)}
        return Called(status, capsys.readouterr().out, figures, document)

    return run


@pytest.fixture
def documents(tmp_path: Path) -> list[str]:
    """Options naming a profile of 2 + 3 + 3 + 2 ms with heads of about 1 ms, and outcomes of random samples."""
    rng = np.random.default_rng(0)
    costs = "part,placement,head,latency_ms\nsegment,0,,2\nsegment,1,,3\nsegment,2,,3\nfinal,,,2\n"
    costs += "head,0,a,1\nhead,0,b,1.5\nhead,1,a,1\nhead,2,a,1\n"
    (tmp_path / "costs.csv").write_text(costs)
    scores: dict[str, dict[str, float]] = {name: {} for name in SKILL}
    for split in ("choice", "report"):
        labels = rng.integers(CLASSES, size=SAMPLES)
        tensors = {"labels": labels}
        for name, skill in SKILL.items():
            right = rng.random(SAMPLES) < skill
            # Surer where it is right, so that thresholds tell.
            sure = rng.uniform(0.5, 2, SAMPLES) + 2 * right
            answers = np.eye(CLASSES)[np.where(right, labels, (labels + 1) % CLASSES)]
            tensors[name] = (sure[:, None] * answers).astype(np.float32)
            scores[name][split] = float(right.mean())
        (tmp_path / "outcomes").mkdir(exist_ok=True)
        save_file(tensors, tmp_path / "outcomes" / f"{split}.safetensors")
    heads = [{"placement": int(n[0]), "head": n[2:], "scores": scores[n]} for n in SKILL if n != "final"]
    document = {"schema_version": 1, "backbone": BACKBONE, "metric": "accuracy", "fallback": 0.0, "source": "made up"}
    document |= {"splits": {"choice": SAMPLES, "report": SAMPLES}, "heads": heads, "final": {"scores": scores["final"]}}
    write_json(tmp_path / "outcomes" / "outcomes.json", document)
    return ["--profile", str(tmp_path / "costs.csv"), "--outcomes", str(tmp_path / "outcomes")]


@pytest.fixture(autouse=True)
def _optuna_speaks_as_before():
    """Scripts make Optuna quiet, which is for the whole process."""
    before = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(before)
