"""separate: every exit on its own, over a frozen backbone without a leak from one to another."""

from __future__ import annotations

import copy

import pytest
import torch
from small_exits import (
    HAND_EXIT,
    HAND_FINAL,
    HAND_LABELS,
    REGRESSION_TARGETS,
    hand_outputs,
    numbers,
    regression_outputs,
    small_inputs,
    small_model,
)

from exitsearch.learn.recipes.losses.separate import separate
from exitsearch.learn.recipes.outputs import exit_outputs

LABELS = torch.tensor([0, 1, 2, 3])


def test_the_loss_of_each_exit_as_it_is() -> None:
    found = numbers(separate(hand_outputs(), HAND_LABELS, None, 0))
    assert found == pytest.approx({"exit_0": HAND_EXIT, "final": HAND_FINAL}, abs=1e-6)
    assert numbers(separate(regression_outputs(), REGRESSION_TARGETS, None, 0)) == {"exit_0": 1.5, "final": 0.5}


def test_gradients_do_not_leak_between_exits() -> None:
    model = small_model()
    model.backbone.requires_grad_(requires_grad=False)
    for number in range(len(model.heads)):
        model.zero_grad(set_to_none=True)
        separate(exit_outputs(model, small_inputs()), LABELS, None, 0)[f"exit_{number}"].backward()
        touched = [
            place for place, head in enumerate(model.heads) if any(p.grad is not None for p in head.parameters())
        ]
        assert touched == [number]
        assert all(parameter.grad is None for parameter in model.backbone.parameters())


def test_heads_trained_together_come_out_as_alone() -> None:
    """Bit for bit, over steps of AdamW, whose state is of each weight alone."""

    def trained(model: torch.nn.Module, heads: list[int]) -> list[torch.nn.Module]:
        model = copy.deepcopy(model)
        model.backbone.requires_grad_(requires_grad=False)
        optimizer = torch.optim.AdamW([p for number in heads for p in model.heads[number].parameters()], lr=1e-2)
        for step in range(3):
            optimizer.zero_grad()
            outputs = exit_outputs(model, small_inputs() + step)
            sum(separate(outputs, LABELS, None, step).values()).backward()
            optimizer.step()
        return list(model.heads)

    model = small_model(((1, "linear", {}), (4, "lph", {}), (8, "gah", {})))
    together = trained(model, [0, 1, 2])
    for number in range(3):
        alone = trained(model, [number])[number]
        for name, weight in alone.state_dict().items():
            assert torch.equal(weight, together[number].state_dict()[name]), name
        moved = [
            not torch.equal(a, b) for a, b in zip(alone.parameters(), model.heads[number].parameters(), strict=True)
        ]
        assert any(moved)
