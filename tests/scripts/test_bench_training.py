"""A step of training over the unavoidable work, at its smallest size, and that both sides learn the same."""

from __future__ import annotations

import argparse

import bench_training
import pytest
import torch

from exitsearch.learn.data import batches, load_data, shuffled
from exitsearch.models.backbone import create_backbone

SMALL = ["--heads", "linear,mlp_ee", "--placements", "0,2", "--threads", "1", "--batch-size", "8"]


def test_smallest(call):
    called = call("bench_training", *SMALL, "--steps", "2", "--turns", "3")
    found = called.figures
    assert (found["heads"], found["steps"], found["turns"]) == (4, 2, 3)
    assert len(found["ratios"]) == 3
    assert found["lowest_ratio"] <= found["ratio"] <= found["highest_ratio"]
    assert 0 < found["unavoidable_ms"] < 60_000
    assert 0 < found["step_ms"] < 60_000
    assert called.status == (found["ratio"] > 1.15)
    heading, row = called.out.splitlines()
    assert heading.split() == ["heads", "step", "ms", "unavoidable", "ms", "ratio", "lowest", "highest"]
    assert row.split()[:2] == ["4", f"{found['step_ms']:.2f}"]


@pytest.mark.parametrize("option", ["--steps", "--turns"])
def test_no_steps_are_too_few(option, capsys):
    assert bench_training.main([*SMALL, option, "0"]) == 2
    assert capsys.readouterr().err.startswith("bench_training: --steps and --turns must be 1 or more")


def test_both_sides_do_the_same_work():
    """One step at the same rate from the same weights: heads without dropout end the same but for rounding."""
    options = argparse.Namespace(heads="linear", placements="0,2", seed=0, turns=0, batch_size=8)
    backbone = create_backbone()
    data = load_data("digits", backbone=backbone)
    trainer = bench_training.make_trainer(backbone, options)
    trainer._set_rates = lambda done: None  # the recipe's first rate is 0
    unavoidable = bench_training.Unavoidable(trainer)
    order = shuffled(len(data.heads), 8, seed=0, epoch=0)[:1]
    before = {key: [p.clone() for p in head.parameters()] for key, head in trainer.heads.items()}
    unavoidable.train(list(batches(data.heads, order=order)))
    trainer.train_epoch(data.heads, epoch=0, order=order)
    for (placement, head), module in trainer.heads.items():
        (own, _), *others = unavoidable._heads[placement]
        assert not others
        for mine, theirs, start in zip(module.parameters(), own.parameters(), before[placement, head], strict=True):
            assert not torch.equal(mine, start)
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)
