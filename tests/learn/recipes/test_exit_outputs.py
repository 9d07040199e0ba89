"""ExitOutputs: one pass, and what a loss asks for of it and no more."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from small_exits import EXITS, small_inputs, small_model
from torch import nn

from exitsearch.errors import InputError
from exitsearch.learn.recipes.outputs import NEEDS, exit_facts, exit_outputs
from exitsearch.models.features import feature_map, patch_tokens
from exitsearch.models.heads import list_heads
from exitsearch.models.heads.base import ExitHead


@pytest.fixture(scope="module")
def model():
    return small_model()


def test_facts(model) -> None:
    facts = exit_facts(model, chances=[0.1, 0.1, 0.1, 0.2, 0.2, 0.3])
    assert facts.task == "classification"
    assert facts.placements == (1, 3, 5, 7, 9)
    assert facts.heads == ("lph", "lph", "gah", "mlp_ee", "gah")
    assert facts.depth == 12
    assert facts.strides == (1, 1, 2, 1, 3)
    assert facts.grid == (8, 8)
    assert facts.exits == ("exit_0", "exit_1", "exit_2", "exit_3", "exit_4", "final")
    assert facts.chances[-1] == 0.3
    assert exit_facts(model).chances is None


@pytest.mark.parametrize(
    ("chances", "message"),
    [
        ([0.5, 0.5], "one number for each of the 6 exits, the final one last, found 2; give 6 numbers"),
        ([0, 0, 0, 0, 0, 1.2], "a chance is a number from 0 to 1, found 1.2; give shares, not percentages"),
        ([0, 0, 0, 0, 0, float("nan")], "a chance is a number from 0 to 1, found nan"),
        ([0.5] * 6, "add up to 1 or less, found 3; divide them by their sum"),
    ],
)
def test_chances_are_shares_of_one(model, chances: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        exit_facts(model, chances=chances)


@pytest.mark.parametrize("needs", [frozenset(), NEEDS])
def test_logits_are_the_models_own(model, needs: frozenset[str]) -> None:
    with torch.no_grad():
        outputs = exit_outputs(model, small_inputs(), needs=needs)
        for mine, own in zip(outputs.logits, model(small_inputs()), strict=True):
            assert torch.equal(mine, own)


def test_what_is_not_asked_for_is_not_kept(model) -> None:
    outputs = exit_outputs(model, small_inputs())
    assert (outputs.bodies, outputs.features, outputs.final_tokens) == ((), (), None)
    kept: list[weakref.ref] = []
    handle = model.backbone.module.blocks[3].register_forward_hook(lambda *given: kept.append(weakref.ref(given[-1])))
    try:
        with torch.no_grad():
            alone = exit_outputs(model, small_inputs(), needs=frozenset({"bodies"}))
            gc.collect()
            assert kept[0]() is None
            asked = exit_outputs(model, small_inputs(), needs=frozenset({"features"}))
            gc.collect()
            assert kept[1]() is asked.features[1]
    finally:
        handle.remove()
    assert alone.features == ()
    assert len(alone.bodies) == len(EXITS)


def test_what_is_asked_for(model) -> None:
    with torch.no_grad():
        outputs = exit_outputs(model, small_inputs(), needs=NEEDS)
        features = list(model.backbone.stream(small_inputs()))
    placements = model.backbone.placements
    for found, placement in zip(outputs.features, outputs.facts.placements, strict=True):
        assert torch.equal(found, features[placement])
    assert torch.equal(outputs.final_tokens, patch_tokens(features[11], placements[11]))
    with torch.no_grad():
        for number in (0, 1, 2, 4):
            assert torch.equal(outputs.bodies[number], model.heads[number].body(outputs.features[number]))
        # What enters the last layer of a head that compares nothing else.
        assert torch.equal(model.heads[3].tail.fc3(outputs.bodies[3]), outputs.logits[3])
    assert outputs.bodies[2].shape[1] == 16
    assert feature_map(outputs.features[2], placements[5])[:, :, ::2, ::2].flatten(2).shape[2] == 16


@pytest.mark.parametrize("head", [head.name for head in list_heads()])
def test_every_head_of_the_house_has_a_body(head: str) -> None:
    model = small_model(((3, head, {}),))
    (body,) = exit_outputs(model, small_inputs(2), needs=frozenset({"bodies"})).bodies
    assert body is not None
    assert len(body) == 2


def test_gradients_go_through_what_is_kept() -> None:
    model = small_model()
    outputs = exit_outputs(model, small_inputs(), needs=NEEDS)
    outputs.bodies[4].sum().backward()
    assert model.heads[4].attention.qkv.weight.grad is not None
    assert model.backbone.module.blocks[9].mlp.fc1.weight.grad is not None
    assert model.backbone.module.blocks[10].mlp.fc1.weight.grad is None


def test_a_head_that_names_no_last_layer_has_no_body(model) -> None:
    class Bare(ExitHead):
        def __init__(self) -> None:
            super().__init__(model.backbone.placements[1], 10)
            self.fc = nn.Linear(64, 10)

        def forward(self, features_):
            return self.fc(features_[:, 0])

    bare = small_model(((1, "linear", {}),))
    bare.heads[0] = Bare()
    assert exit_outputs(bare, small_inputs(), needs=frozenset({"bodies"})).bodies == (None,)


def test_no_hook_stays_behind(model) -> None:
    exit_outputs(model, small_inputs(), needs=NEEDS)
    hooks = [*(m._forward_pre_hooks for m in model.modules()), *(m._forward_hooks for m in model.modules())]
    assert not any(hooks)


def test_half_precision_is_handed_on_in_full() -> None:
    model = small_model().to(torch.bfloat16)
    outputs = exit_outputs(model, small_inputs().to(torch.bfloat16), needs=NEEDS)
    bodies = [body for body in outputs.bodies if body is not None]
    for tensor in (*outputs.logits, *bodies, *outputs.features, outputs.final_tokens):
        assert tensor.dtype == torch.float32


def test_needs_have_names(model) -> None:
    with pytest.raises(InputError, match="a loss may need bodies, features, final_tokens, found feature"):
        exit_outputs(model, small_inputs(), needs=frozenset({"feature"}))


def test_in_training_mode_too() -> None:
    model = small_model(((2, "linear", {}),)).train()
    outputs = exit_outputs(model, small_inputs(), needs=NEEDS)
    assert [logits.shape for logits in outputs.logits] == [(4, 10), (4, 10)]
