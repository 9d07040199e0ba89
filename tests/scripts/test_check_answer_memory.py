"""The memory of scoring, at a tiny size; and that too much of it is found out."""

from __future__ import annotations

import sys

import check_answer_memory
import numpy as np
import pytest
import torch

from exitsearch.learn.trainer import HeadTrainer

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


def test_holding_whole_outputs_is_found_out(call, monkeypatch):
    """A trainer that first holds everything: 400 samples, 21 exits and 2,000 classes are 64 MiB a split."""
    size = ("--samples", "400", "--exits", "21", "--classes", "2000", "--batch-size", "4", "--at-most", "45")
    assert call("check_answer_memory", *size).status == 0
    stream = HeadTrainer.stream_answers
    monkeypatch.setattr(HeadTrainer, "stream_answers", lambda *args, **options: iter(list(stream(*args, **options))))
    called = call("check_answer_memory", *size)
    assert called.status == 1
    assert called.figures["writing_mib"] > 60


def test_drawn_samples_are_the_same_whenever_they_are_asked_for():
    data = check_answer_memory.Drawn(20, 3, seed=1)
    first, labels = data.batch([4, 5, 6])
    again, _ = data.batch([4, 5, 6])
    assert torch.equal(first, again)
    assert np.array_equal(labels, data.labels[4:7])
