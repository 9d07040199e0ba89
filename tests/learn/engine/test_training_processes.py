"""Two processes over gloo: the same steps as one, one that writes, and the same model in both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_training import tiny_data, tiny_model
from training_processes_worker import PLAIN, WHOLE

from exitsearch.learn.engine.folder.record import module_digest
from exitsearch.learn.engine.train import train_model

HERE = Path(__file__).parents[1]


def torchrun(out: Path, recipe: str, **environment: str) -> list[dict[str, Any]]:
    """What two processes say at the end; the second line of a recipe's name is which it is."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *(str(HERE / "training_processes_worker.py"), str(out), recipe),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env={
            **os.environ,
            **environment,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
        },
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    """Plain SGD over a frozen backbone: averaged gradients of two halves are those of the batch, but for rounding."""
    torch.set_num_threads(1)
    model = tiny_model()
    found = train_model(model, tiny_data(), recipe=PLAIN, out=tmp_path / "one")
    said = torchrun(tmp_path / "two", "plain")
    assert len(said) == 2
    assert said[0] == said[1], "both hand back the same model and the same scores"
    one, two = load_file(tmp_path / "one" / "model.safetensors"), load_file(tmp_path / "two" / "model.safetensors")
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    start = tiny_model().state_dict()
    moved = [name for name in one if not torch.equal(one[name], start[name])]
    assert moved
    assert said[0]["scores"]["choice"] == pytest.approx(found.scores["choice"], abs=0.05)
    assert {path.name for path in (tmp_path / "two").iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}


def test_two_processes_are_within_the_noise_of_seeds(tmp_path: Path) -> None:
    """Batch norms in training mode, dropout, mixing and an average: another training, and as good a one.

    They are stopped after the first epoch and started again, and the model that both end with is the one on disk.
    """
    torch.set_num_threads(1)
    scores = []
    for seed in range(3):
        found = train_model(tiny_model(), tiny_data(), recipe=WHOLE, out=tmp_path / str(seed), seed=seed)
        scores.append(sum(found.scores["report"]) / 3)
    assert not torchrun(tmp_path / "two", "whole", UNTIL="1")[0]["finished"]
    said = torchrun(tmp_path / "two", "whole")
    assert said[0] == said[1]
    assert said[0]["finished"]
    model = tiny_model()
    model.load_state_dict(load_file(tmp_path / "two" / "model.safetensors"))
    assert module_digest(model) == said[0]["digest"]
    mean, spread = sum(scores) / 3, max(scores) - min(scores)
    assert abs(sum(said[0]["scores"]["report"]) / 3 - mean) <= spread + 0.05
