"""The memory of scoring, at a tiny size; and that too much of it is found out."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import check_answer_memory
import numpy as np
import pytest
import torch

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

TINY = ("--samples", "40", "--exits", "3", "--classes", "5", "--batch-size", "4")


def test_smallest(call):
    called = call("check_answer_memory", *TINY)
    assert called.status == 0
    assert called.figures["whole_outputs_mib"] == pytest.approx(40 * 3 * 5 * 4 / 2**20)
    # Three exits, two splits: 18 bytes a sample, a header of some hundred bytes; and labels of 8 bytes.
    numbers = 40 * 2 * (3 * 18 + 8)
    assert numbers < called.figures["answers_mib"] * 2**20 < numbers + 8 * 700
    assert "whole outputs of a split take 0 MiB" in called.out


HOLDING = """
import sys
from exitsearch.learn.bank.trainer import HeadTrainer
import check_answer_memory
stream = HeadTrainer.stream_answers
if sys.argv[1] == "hold":
    HeadTrainer.stream_answers = lambda *args, **options: iter(list(stream(*args, **options)))
sys.exit(check_answer_memory.main(sys.argv[2:]))
"""


@pytest.mark.parametrize(("way", "status"), [("stream", 0), ("hold", 1)])
def test_holding_whole_outputs_is_found_out(tmp_path, way, status):
    """A trainer that first holds everything: 400 samples, 21 exits and 2,000 classes are 64 MiB a split.

    In a process of its own: one that has freed memory before fills that first.
    """
    size = ("--samples", "400", "--exits", "21", "--classes", "2000", "--batch-size", "4", "--at-most", "45")
    argv = [sys.executable, "-c", HOLDING, way, *size, "--threads", "1", "--json", str(tmp_path / "figures.json")]
    called = subprocess.run(argv, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=False)
    found = json.loads((tmp_path / "figures.json").read_text())
    assert called.returncode == status
    assert (found["writing_mib"] > 60) == (way == "hold")


def test_drawn_samples_are_the_same_whenever_they_are_asked_for():
    data = check_answer_memory.Drawn(20, 3, seed=1)
    first, labels = data.batch([4, 5, 6])
    again, _ = data.batch([4, 5, 6])
    assert torch.equal(first, again)
    assert np.array_equal(labels, data.labels[4:7])
