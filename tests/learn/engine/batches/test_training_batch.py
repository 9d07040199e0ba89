"""Batches: shares, parts, mixing, soft targets, RandAugment."""

from __future__ import annotations

import itertools

import pytest
import torch
from small_data import small_backbone, small_digits
from small_training import stage

from exitsearch.errors import InputError
from exitsearch.learn.engine.batches.batch import Changes, Normalisation, own_share, parts
from exitsearch.learn.engine.batches.streams import drawn_from
from exitsearch.learn.targets import TargetScale

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def backbone():
    return small_backbone()


@pytest.fixture(scope="module")
def data(backbone):
    return small_digits(backbone)


def changed(backbone, data, seed=0, size=7, **given):
    inputs, labels = data.heads.batch(list(range(size)))
    changes = Changes(stage(**given), data=data, backbone=backbone, scale=None)
    with drawn_from(seed, device=CPU):
        found = changes(inputs, labels, seed=seed, epoch=0, step=0)
    assert torch.equal(inputs, data.heads.batch(list(range(size)))[0]), "the batch itself is left as it is"
    return inputs, labels, *found


def test_the_shares_of_all_processes_are_the_batch() -> None:
    batch = list(range(7))
    shares = [own_share(batch, rank=rank, count=3) for rank in range(3)]
    assert sorted(itertools.chain(*shares)) == batch


@pytest.mark.parametrize(("size", "count"), [(7, 3), (8, 4), (3, 4), (2, 8), (1, 2)])
def test_parts_cover_a_batch_and_hold_two_samples_each(size, count) -> None:
    found = [list(range(size))[piece] for piece in parts(size, count=count)]
    assert list(itertools.chain(*found)) == list(range(size))
    assert len(found) <= count
    assert all(len(part) >= min(2, size) for part in found)


def test_mixup_gives_soft_targets_of_pairs(backbone, data) -> None:
    inputs, labels, mixed, targets = changed(backbone, data, mixup=1.0)
    assert len(mixed) == len(targets) == 6  # pairs
    assert targets.shape == (6, 10)
    assert torch.allclose(targets.sum(1), torch.ones(6))
    share = float(targets[0, labels[0]])
    other = inputs[5]
    assert torch.allclose(mixed[0], share * inputs[0] + (1 - share) * other, atol=1e-6) or labels[0] == labels[5]


def test_mixing_is_drawn_from_the_stream_alone(backbone, data) -> None:
    first = changed(backbone, data, mixup=1.0, seed=3)[2]
    again = changed(backbone, data, mixup=1.0, seed=3)[2]
    other = changed(backbone, data, mixup=1.0, seed=4)[2]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_label_smoothing_by_hand(backbone, data) -> None:
    """0.2 of 10 classes: 0.02 everywhere and 0.8 more at the label."""
    _, labels, _, targets = changed(backbone, data, label_smoothing=0.2)
    assert targets[0, labels[0]] == pytest.approx(0.82)
    assert float(targets[0].sum()) == pytest.approx(1.0)
    assert float(targets[0].min()) == pytest.approx(0.02)


def test_a_batch_of_one_is_not_mixed(backbone, data) -> None:
    inputs, labels, mixed, targets = changed(backbone, data, size=1, cutmix=1.0)
    assert torch.equal(mixed, inputs)
    assert targets.argmax(1).tolist() == labels.tolist()


def test_rand_augment_changes_images_and_keeps_their_range(backbone, data) -> None:
    inputs, _, found, _ = changed(backbone, data, rand_augment="rand-m9-n2-p1.0-mstd0.5")
    assert found.shape == inputs.shape
    assert not torch.equal(found, inputs)
    images = Normalisation.of(backbone).undo(found)
    assert -1e-6 <= float(images.min()) <= float(images.max()) <= 1 + 1e-6


def test_rand_augment_without_any_operation_gives_the_bytes_back(backbone, data) -> None:
    inputs, _, found, _ = changed(backbone, data, rand_augment="rand-m9-n1-p0.0")
    images = Normalisation.of(backbone).undo(inputs).clamp(0, 1)
    assert torch.allclose(Normalisation.of(backbone).undo(found), (images * 255).round() / 255, atol=1e-6)


def test_rand_augment_is_for_images(backbone, data) -> None:
    changes = Changes(stage(rand_augment="rand-m9"), data=data, backbone=backbone, scale=None)
    with pytest.raises(InputError, match="rand_augment is for images"):
        changes(torch.full((2, 1, 8, 8), 40.0), torch.tensor([0, 1]), seed=0, epoch=0, step=0)


def test_a_wrong_rand_augment_is_one_sentence(backbone, data) -> None:
    with pytest.raises(InputError, match="written as timm does, such as rand-m9"):
        Changes(stage(rand_augment="gauss-3"), data=data, backbone=backbone, scale=None)


def test_regression_targets_are_standardised() -> None:
    backbone = small_backbone(task="regression")
    data = small_digits(backbone)
    scale = TargetScale.of(data.heads.labels)
    inputs, labels = data.heads.batch([0, 1])
    changes = Changes(stage(), data=data, backbone=backbone, scale=scale)
    _, targets = changes(inputs, labels, seed=0, epoch=0, step=0)
    assert torch.allclose(targets, ((labels.double() - scale.centre) / scale.spread).float())
