"""The four training loops of the examples, as scripts, with the real libraries and a few real digits."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from timm.task import ClassificationTask

import exitsearch
from exitsearch.learn.data import load_data
from exitsearch.models.multi_exit import build_model
from exitsearch.specs.config import MultiExitConfig

EXAMPLES = Path(__file__).parents[1] / "examples"
LOOPS = ("plain", "timm", "lightning", "hf")


def config() -> MultiExitConfig:
    return MultiExitConfig.model_validate(
        {
            "schema_version": 1,
            "backbone": {"name": "vit_digits_patch1_8", "input_size": (1, 8, 8), "num_outputs": 10},
            "exits": [{"placement": 1, "head": "linear"}, {"placement": 4, "head": "mlp_ee"}],
            "policy": "interruptible",
            "budget": "uniform:1,3",
            "expected": {"value": 0.5, "metric": "accuracy", "policy": "interruptible", "split": "choice"},
            "optimum": {"value": 0.5, "exact": True, "regret": 0.0},
            "latency_ms": [1.0, 2.0, 3.0],
            "exit_scores": {"choice": [0.5, 0.75, 0.9]},
            "fallback": 0.0,
            "profile": {},
            "outcomes": {},
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration, and 640 digits in folders by their classes."""
    folder = tmp_path_factory.mktemp("examples")
    config().write(folder / "chosen.json")
    images, labels = load_digits(return_X_y=True)
    for number, (image, label) in enumerate(zip(images[:640], labels[:640], strict=True)):
        path = folder / "digits" / ("val" if number % 4 == 0 else "train") / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image.reshape(8, 8) * 15.9).astype("uint8")).save(path)
    return folder


def called(folder: Path, loop: str, *argv: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"train_{loop}.py"), "chosen.json", "--data", "digits/", *argv],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("loop", LOOPS)
def test_trains_judges_and_saves(folder: Path, loop: str) -> None:
    """The loss falls from one epoch to the next, and the model that is read back answers as it was judged."""
    assert len((EXAMPLES / f"train_{loop}.py").read_text().splitlines()) <= 60
    out = folder / loop
    done = called(folder, loop, "--epochs", "2", "--out", str(out))
    first, second = (float(loss) for loss in re.findall(r"joint, epoch \d: loss ([\d.]+)", done.stdout))
    assert second < first
    judged = [float(score) for score in re.findall(r"exit \d: accuracy ([\d.]+)", done.stdout)]
    model = exitsearch.load_model(out)
    data = load_data(str(folder / "digits"), backbone=model.backbone)
    images, labels = data.report.batch(list(range(len(data.report))))
    with torch.inference_mode():
        found = [float((outputs.argmax(1) == labels).float().mean()) for outputs in model(images)]
    assert len(found) == 3
    assert found == pytest.approx(judged, abs=1e-4)
    untrained = build_model(config())
    assert any(not torch.equal(a, b) for a, b in zip(untrained.parameters(), model.parameters(), strict=True))


def test_stages_follow_each_other(folder: Path) -> None:
    """A recipe of several legs in the plain loop: one head after the other."""
    done = called(folder, "plain", "--epochs", "1", "--recipe", "layerwise", "--out", "layerwise")
    assert re.findall(r"(each/\d), epoch 1: loss [\d.]+", done.stdout) == ["each/0", "each/1"]


def test_timms_stock_task_takes_one_tensor() -> None:
    """Why the example has a task of its own."""
    task = ClassificationTask(build_model(config()))
    with pytest.raises((TypeError, AttributeError)):
        task(torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64))
