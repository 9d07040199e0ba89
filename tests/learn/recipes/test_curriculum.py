"""The curriculum: difficulty by hand, and epochs that repeat."""

from __future__ import annotations

from math import log

import pytest
import torch

from exitsearch.errors import InputError
from exitsearch.learn.recipes.curriculum import epoch_order, sample_difficulty, shown_share


def test_difficulty_counts_wrong_exits_then_doubt() -> None:
    """Three samples of the class 0, two exits; probabilities (1, 4) / 5, (2, 3) / 5 and so on.

    Sample 0: both right, with 4/5 and 3/5: mean 7/10, difficulty 0.3. Sample 1: one right, with 4/5 and 1/5: mean 1/2,
    difficulty 1.5. Sample 2: both wrong, with 1/5 and 2/5: mean 3/10, difficulty 2.7.
    """
    first = torch.tensor([[log(4), 0], [log(4), 0], [0, log(4)]])
    second = torch.tensor([[log(3), log(2)], [0, log(4)], [log(2), log(3)]])
    found = sample_difficulty([first, second], torch.tensor([0, 0, 0]), task="classification")
    assert found.tolist() == pytest.approx([0.3, 1.5, 2.7], abs=1e-6)


def test_an_exit_more_that_is_wrong_outweighs_any_doubt() -> None:
    # Sample 0: both exits right but hardly; sample 1: one sure and right, one wrong by a little.
    first = torch.tensor([[1e-3, 0.0], [50.0, 0.0]])
    second = torch.tensor([[1e-3, 0.0], [0.0, 1e-3]])
    found = sample_difficulty([first, second], torch.tensor([0, 0]), task="classification")
    assert found[0] < found[1]


def test_difficulty_of_a_regression() -> None:
    # Errors of the exits: 1 and 3, 0 and 1.
    first, second = torch.tensor([[1.0], [5.0]]), torch.tensor([[5.0], [4.0]])
    for targets in (torch.tensor([2.0, 5.0]), torch.tensor([[2.0], [5.0]])):
        assert sample_difficulty([first, second], targets, task="regression").tolist() == [2.0, 0.5]


@pytest.mark.parametrize("logits", [[], [torch.zeros(2, 3)], [torch.zeros(3, 3), torch.zeros(2, 3)]])
def test_difficulty_needs_every_sample(logits: list) -> None:
    with pytest.raises(InputError, match="for each of the 3 samples, found"):
        sample_difficulty(logits, torch.zeros(3, dtype=torch.int64), task="classification")


def test_the_share_grows_to_all() -> None:
    shares = [shown_share(epoch=epoch, epochs=8, start=0.2, grown=0.5) for epoch in range(8)]
    # Over four epochs from 0.2 to 1: a fifth more each.
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1])
    assert shown_share(epoch=0, epochs=1) == 0.3
    assert shown_share(epoch=0, epochs=5, grown=0) == 1


def test_an_epoch_draws_from_the_easiest() -> None:
    difficulty = torch.tensor([9.0, 0.0, 8.0, 1.0, 7.0, 2.0, 6.0, 3.0, 5.0, 4.0])
    order = epoch_order(difficulty, epoch=0, epochs=4, seed=0, start=0.3, grown=0.5)
    # The three easiest are the samples 1, 3 and 5; ten places are three rounds of them and one more.
    counts = torch.bincount(order, minlength=10)
    assert counts[[1, 3, 5]].tolist() == [3 + (order[9] == sample).item() for sample in (1, 3, 5)]
    assert counts.sum() == 10
    assert all(sorted(order[start : start + 3].tolist()) == [1, 3, 5] for start in (0, 3, 6))


def test_later_epochs_show_every_sample_once() -> None:
    order = epoch_order(torch.rand(100), epoch=5, epochs=10, seed=0)
    assert sorted(order.tolist()) == list(range(100))
    assert order.dtype == torch.int64
    assert order.tolist() != list(range(100))


def test_the_same_arguments_give_the_same_order() -> None:
    """Whatever was drawn before, so that a resumed training goes on with it."""
    difficulty = torch.rand(50)
    first = epoch_order(difficulty, epoch=3, epochs=10, seed=7)
    torch.rand(10)
    assert torch.equal(epoch_order(difficulty, epoch=3, epochs=10, seed=7), first)
    assert not torch.equal(epoch_order(difficulty, epoch=3, epochs=10, seed=8), first)
    again = epoch_order(difficulty, epoch=8, epochs=10, seed=7)
    assert not torch.equal(epoch_order(difficulty, epoch=9, epochs=10, seed=7), again)


def test_drawing_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    wanted = torch.rand(1)
    torch.manual_seed(0)
    epoch_order(torch.zeros(5), epoch=0, epochs=2, seed=1)
    assert torch.equal(torch.rand(1), wanted)


@pytest.mark.parametrize(
    ("difficulty", "options", "message"),
    [
        (torch.zeros(0), {}, r"one finite difficulty for each sample, found a tensor \(0,\)"),
        (torch.zeros(2, 2), {}, r"found a tensor \(2, 2\)"),
        (torch.tensor([0.0, float("nan")]), {}, "with numbers that are not finite; take sample_difficulty"),
        (torch.zeros(3), {"epoch": 4}, "an epoch is numbered from 0 to 3 of 4, found 4"),
        (torch.zeros(3), {"epoch": -1}, "found -1"),
        (torch.zeros(3), {"start": 0}, "starts with a share of the samples above 0 and up to 1, found 0"),
        (torch.zeros(3), {"grown": 1.5}, "after a share of the epochs from 0 to 1, found 1.5"),
    ],
)
def test_what_it_refuses(difficulty: torch.Tensor, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        epoch_order(difficulty, **({"epoch": 0, "epochs": 4, "seed": 0} | options))
