"""Changes of training inputs: what they do, and that they are the same for the same numbers."""

from __future__ import annotations

import pytest
import torch

from exitsearch.errors import InputError
from exitsearch.learn.augment import AUGMENTATIONS, augment, flip, read_augmentations, specaugment


def _drawn(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def inputs():
    return torch.randn(64, 2, 40, 30, generator=_drawn())


def test_a_flip_mirrors_about_half_and_leaves_the_others(inputs):
    changed = flip(inputs, _drawn())
    same = [torch.equal(a, b) for a, b in zip(changed, inputs, strict=True)]
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(changed, inputs, strict=True)]
    assert all(a != b for a, b in zip(same, mirrored, strict=True))
    assert 16 <= sum(mirrored) <= 48


def test_masks_are_whole_bands_and_frames_and_hold_the_mean(inputs):
    """At most 2 runs of int(40 * 15 / 80) = 7 bands and 2 of 30 / 5 = 6 frames."""
    changed = specaugment(inputs, _drawn())
    for before, after in zip(inputs, changed, strict=True):
        masked = (after == before.mean()).all(0)
        assert torch.equal(after[:, ~masked], before[:, ~masked])
        rows, columns = masked.all(1), masked.all(0)
        assert torch.equal(masked, rows[:, None] | columns[None, :])
        assert int(rows.sum()) <= 14
        assert int(columns.sum()) <= 12
    masked = (changed == inputs.mean((1, 2, 3), keepdim=True)).all(1)
    # All widths are equally likely: 2 x 3.5 bands and 2 x 3 frames, fewer where the two runs overlap.
    assert 5 < float(masked.all(2).sum(1).double().mean()) < 7.5
    assert 4 < float(masked.all(1).sum(1).double().mean()) < 6.5
    assert bool(masked[:, 0].all(1).any())
    assert bool(masked[:, -1].all(1).any())


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_same_numbers_give_the_same_change_and_leave_the_inputs(name, inputs):
    before = inputs.clone()
    state = torch.get_rng_state()
    first, again = (augment(inputs, [name], seed=1, epoch=2, step=3) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(inputs, before)
    assert torch.equal(torch.get_rng_state(), state)
    for other in ({"seed": 2}, {"epoch": 3}, {"step": 4}):
        assert not torch.equal(first, augment(inputs, [name], **({"seed": 1, "epoch": 2, "step": 3} | other)))


def test_without_names_nothing_changes(inputs):
    assert augment(inputs, (), seed=0, epoch=0, step=0) is inputs


def test_names():
    assert read_augmentations(None) == ()
    assert read_augmentations(["specaugment"]) == ("specaugment",)
    with pytest.raises(InputError, match=r"unknown augmentation 'flop' \(did you mean 'flip'"):
        read_augmentations("flop")
