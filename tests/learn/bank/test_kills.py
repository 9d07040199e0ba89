"""Real kills: five processes that end by SIGKILL at five moments, and a sixth that ends as if there had been none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from small_data import HEADS, PLACEMENTS, RECIPE, small_backbone, small_digits

from exitsearch.learn.bank.train import train_bank
from exitsearch.specs.outcomes import Outcomes

HERE = Path(__file__).parents[1]


def test_five_kills_leave_no_trace(tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    backbone = small_backbone()
    exits = [(placement, head) for placement in PLACEMENTS for head in HEADS]
    train_bank(backbone, small_digits(backbone), out=whole, exits=exits, recipe=RECIPE)
    done = subprocess.run(
        [sys.executable, str(HERE / "kill_worker.py"), str(killed)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
    )
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()
    assert [int(row.split()[0]) for row in rows] == [-signal.SIGKILL] * 5 + [0], done.stdout + done.stderr
    # The fourth was killed between the answers, the fifth after the outcomes and before the record.
    assert "'answers'" in rows[3]
    assert "'outcomes.json'" not in rows[3]
    assert "'outcomes.json'" in rows[4]
    for name in [path.relative_to(whole) for path in whole.rglob("*.safetensors")]:
        mine, theirs = load_file(killed / name), load_file(whole / name)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs), name
    assert Outcomes.load(killed).values() == Outcomes.load(whole).values()
    assert {path.name for path in killed.iterdir()} == {path.name for path in whole.iterdir()}
