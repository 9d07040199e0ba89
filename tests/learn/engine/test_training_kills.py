"""Real kills: five processes that end by SIGKILL, and a sixth that ends as if there had been none."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from small_data import small_digits
from small_training import TWO_STAGES, small_model

from exitsearch.learn.engine.folder.record import TrainingRecord
from exitsearch.learn.engine.train import train_model

HERE = Path(__file__).parents[1]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open() as file:
        return [{key: cell for key, cell in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def test_five_kills_leave_no_trace(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    torch.set_num_threads(1)
    model = small_model()
    found = train_model(model, small_digits(model.backbone), recipe=TWO_STAGES, out=whole)
    done = subprocess.run(
        [sys.executable, str(HERE / "training_kill_worker.py"), str(killed)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
    )
    assert done.returncode == 0, done.stderr
    seen = done.stdout.splitlines()
    assert [int(row.split()[0]) for row in seen] == [-signal.SIGKILL] * 5 + [0], done.stdout + done.stderr
    assert "'state.safetensors'" in seen[2]
    assert "'model.safetensors'" not in seen[4]
    mine, theirs = load_file(killed / "model.safetensors"), load_file(whole / "model.safetensors")
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    assert rows(killed) == rows(whole)
    record = TrainingRecord.read(killed / "training.json")
    assert record.finished
    assert record.scores == found.scores
    assert record.kept == found.kept
    assert {path.name for path in killed.iterdir()} == {path.name for path in whole.iterdir()}
