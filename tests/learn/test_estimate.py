"""What a training will take: counts that are known, sums by hand, and that a few steps leave nothing behind."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_data import HEADS, PLACEMENTS, RECIPE, small_backbone, small_digits

from exitsearch.errors import InputError
from exitsearch.learn.bank.train import weights_digest
from exitsearch.learn.estimate import Estimate, estimate_training
from exitsearch.models.heads import create_head

PAIRS = [(placement, head) for placement in PLACEMENTS for head in HEADS]
BY_HAND = Estimate(
    heads=4,
    placements=2,
    parameters=1_000,
    outputs=10,
    samples={"heads": 95, "choice": 20, "report": 40},
    epochs=3,
    batch_size=10,
    looks=False,
    step_seconds=2.0,
    loading_seconds=0.5,
    answer_seconds=0.1,
    workers=0,
    overlaps=False,
    backbone_bytes=500,
    weight_bytes=4_000,
    other_bytes=7_000,
)


def test_times_by_hand():
    """Ten steps of 2 + 0.5 s are an epoch of 25 s; a sample's answer takes 0.1 + 0.05 s, 60 samples 9 s."""
    assert (BY_HAND.steps, BY_HAND.epoch_seconds) == (10, 25.0)
    assert BY_HAND.answers_seconds == pytest.approx(9.0)
    assert BY_HAND.total_seconds == pytest.approx(84.0)


def test_what_is_read_meanwhile_costs_nothing_and_looks_cost():
    """Steps of 2 s hide 0.5 s of reading; each of 20 samples of choice takes 0.1 s more an epoch."""
    overlapping = dataclasses.replace(BY_HAND, overlaps=True, workers=2, looks=True)
    assert overlapping.epoch_seconds == pytest.approx(22.0)
    assert dataclasses.replace(overlapping, loading_seconds=3.0, looks=False).epoch_seconds == 30.0


def test_sizes_by_hand():
    """Weights, gradients and two moments of 4,000 bytes; 5 exits answer 60 samples in 18 bytes each."""
    assert BY_HAND.memory_bytes == 500 + 4 * 4_000 + 7_000
    assert BY_HAND.checkpoint_bytes == 12_000
    assert BY_HAND.answer_bytes == 5 * 60 * 18


@pytest.mark.parametrize("schedule", ["one_cycle", "plateau"])
def test_a_few_steps_count_right_and_leave_nothing_behind(tmp_path, monkeypatch, schedule):
    monkeypatch.chdir(tmp_path)
    backbone = small_backbone()
    before, generator = weights_digest(backbone), torch.random.get_rng_state()
    recipe = dataclasses.replace(RECIPE, schedule=schedule)
    found = estimate_training(backbone, small_digits(backbone), exits=PAIRS, recipe=recipe, steps=2)
    assert torch.equal(torch.random.get_rng_state(), generator)
    modules = [create_head(h, placement=backbone.placements[p], num_outputs=10) for p, h in PAIRS]
    classifier = sum(p.numel() for p in backbone.module.head.parameters())
    assert found.parameters == sum(p.numel() for module in modules for p in module.parameters()) + classifier
    assert found.weight_bytes == 4 * found.parameters
    assert (found.heads, found.placements, found.outputs, found.looks) == (4, 2, 10, schedule == "plateau")
    assert found.samples == {"heads": 30, "choice": 30, "report": 30}
    assert (found.steps, found.epochs, found.workers) == (3, 2, 0)
    assert 0 < found.step_seconds < 600
    assert 0 < found.loading_seconds < 600
    assert 0 < found.answer_seconds < 600
    assert found.backbone_bytes == 4 * sum(p.numel() for p in backbone.module.parameters())
    assert found.other_bytes is None or found.other_bytes >= 0
    assert weights_digest(backbone) == before
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert not list(tmp_path.iterdir())


def test_wrong_data_is_refused():
    backbone = small_backbone()
    data = small_digits(backbone)
    data.report.labels[3] = 10
    with pytest.raises(InputError, match="must be from 0 to 9, 1 of the 30 of the split report"):
        estimate_training(backbone, data, exits=PAIRS, recipe=RECIPE)
