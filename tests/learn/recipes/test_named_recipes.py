"""Recipes as data: every named one can be run, wrong ones are refused with a sentence."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from small_exits import small_inputs, small_model

from exitsearch.errors import InputError
from exitsearch.learn.bank.recipe import HEAD_RECIPES
from exitsearch.learn.recipes.outputs import exit_facts, exit_outputs
from exitsearch.learn.recipes.recipe import RECIPES, Recipe, Stage, get_recipe

STAGE = {"name": "s", "loss": "joint", "epochs": 1, "batch_size": 8, "learning_rate": 1e-3}
ALL_STAGES = [(name, number) for name, recipe in RECIPES.items() for number in range(len(recipe.stages))]


@pytest.fixture(scope="module", params=["classification", "regression"])
def model(request):
    return small_model(task=request.param)


def test_the_issues_recipes_are_there() -> None:
    asked = "frozen mevit layerwise joint budget alternating lgvit distill copycat adapters curriculum"
    assert list(RECIPES) == asked.split()
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert recipe.description
        assert recipe.source


def test_the_older_names_are_recipes_of_the_heads_alone() -> None:
    for name, head_recipe in HEAD_RECIPES.items():
        assert RECIPES[name].stages == ()
        assert RECIPES[name].head_recipe == head_recipe


@pytest.mark.parametrize(("name", "number"), ALL_STAGES)
def test_every_stage_can_take_a_step(name: str, number: int, model) -> None:
    """Its loss is finite, and moves what the stage trains."""
    stage = RECIPES[name].stages[number]
    facts = exit_facts(model, chances=[0.1, 0.1, 0.2, 0.2, 0.2, 0.2])
    targets = torch.tensor([0, 1, 2, 3]) if facts.task == "classification" else torch.tensor([0.1, 0.2, 0.3, 0.4])
    model.backbone.requires_grad_(stage.trains == "all")
    for step in (0, 1):
        model.zero_grad(set_to_none=True)
        outputs = exit_outputs(model, small_inputs(), needs=stage.named_loss.needs, facts=facts)
        teacher = None if stage.teacher is None else outputs.logits[-1].detach()
        terms = stage.named_loss.function(outputs, targets, teacher, step, **stage.options)
        total = sum(terms.values())
        assert torch.isfinite(total)
        total.backward()
    touched = {place for place, head in enumerate(model.heads) if any(p.grad is not None for p in head.parameters())}
    assert touched == set(range(len(model.heads)))
    assert any(p.grad is not None for p in model.backbone.parameters()) == (stage.trains == "all")


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_is_plain_data(name: str) -> None:
    assert json.loads(json.dumps(dataclasses.asdict(RECIPES[name])))["name"] == name


def test_numbers_of_ones_own() -> None:
    lgvit = get_recipe("lgvit", epochs=3, batch_size=16, learning_rate=1e-3, augment="flip", mixup=0.2)
    for stage in lgvit.stages:
        assert (stage.epochs, stage.batch_size, stage.learning_rate) == (3, 16, 1e-3)
        assert (stage.augment, stage.mixup) == (("flip",), 0.2)
    assert [stage.trains for stage in lgvit.stages] == ["all", "heads"]
    assert get_recipe("lgvit", epochs=None, ema=None) is RECIPES["lgvit"]
    assert get_recipe(lgvit) is lgvit


def test_numbers_of_ones_own_for_heads_alone() -> None:
    frozen = get_recipe("frozen", epochs=3, learning_rate=1e-2)
    assert (frozen.head_recipe.epochs, frozen.head_recipe.learning_rate) == (3, 1e-2)
    assert frozen.head_recipe.batch_size == HEAD_RECIPES["frozen"].batch_size
    with pytest.raises(InputError, match=r"frozen trains the heads alone and takes epochs, .* found ema; leave it out"):
        get_recipe("frozen", ema=0.9)


def test_options_of_losses_go_where_a_loss_takes_them() -> None:
    """lgvit's first stage has a loss without options, its second one with four; own options stand beside."""
    alternating, features = get_recipe("lgvit", loss_options={"share": 0.5}, epochs=2).stages
    assert (alternating.options, features.options) == ({}, {"share": 0.5})
    assert features.epochs == 2
    own = Recipe(name="own", description="", source="own", stages=(Stage(**STAGE, options={"final": 3.0}),))
    assert get_recipe(own, loss_options={"weights": [1.0, 2.0]}).stages[0].options == {
        "final": 3.0,
        "weights": [1.0, 2.0],
    }
    assert get_recipe("joint", loss_options={}) is RECIPES["joint"]


@pytest.mark.parametrize(
    ("recipe", "given", "message"),
    [
        ("lgvit", {"shar": 0.5}, r"option of the losses of lgvit \(alternating, lgvit\) 'shar' \(did you mean 'share'"),
        ("copycat", {"share": 0.5}, r"the loss of copycat \(copycat\) takes no options, found share; leave it out"),
        ("budget", {"least": "a little"}, "the option least of the loss budget is a number, found 'a little'"),
        ("budget", {"least": True}, "the option least of the loss budget is a number, found True"),
        ("joint", {"weights": "1;2"}, "a number, or one for each exit as 1,2,3, found '1;2'"),
        ("frozen", {"share": 0.5}, "found loss_options; leave it out"),
    ],
)
def test_options_of_losses_that_are_refused(recipe: str, given: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        get_recipe(recipe, loss_options=given)


def test_a_given_teacher() -> None:
    assert {stage.teacher for stage in get_recipe("distill", teacher="given").stages} == {"given"}


def test_distill_lets_heads_come_near_their_teacher_before_they_move_the_backbone() -> None:
    assert [stage.trains for stage in RECIPES["distill"].stages] == ["heads", "all"]


def test_unknown_names() -> None:
    with pytest.raises(InputError, match=r"unknown recipe 'jiont' \(did you mean 'joint'\?\); known: adapters"):
        get_recipe("jiont")
    with pytest.raises(InputError, match="unknown attribute of a stage 'momentum'"):
        get_recipe("joint", momentum=0.9)
    with pytest.raises(InputError, match="unknown attribute of a stage 'loss'"):
        get_recipe("joint", loss="separate")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "jont"}, r"unknown loss 'jont' \(did you mean 'joint'\?\)"),
        ({"options": {"wieghts": 1}}, r"unknown option of the loss joint 'wieghts' \(did you mean 'weights'\?\)"),
        ({"trains": "backbone"}, "unknown trains of a stage 'backbone'; known: adapters, all, heads"),
        ({"teacher": "own"}, "unknown teacher of a stage 'own'"),
        ({"order": "sorted"}, "unknown order of a stage 'sorted'; known: curriculum, shuffled"),
        ({"each_exit": True, "trains": "all"}, "trains that exit's head alone, found trains='all' in the stage 's'"),
        ({"epochs": 0}, "a recipe has at least 1 epoch, found epochs 0 in the stage 's'"),
        ({"epochs": 1.5}, "a recipe has at least 1 epoch, found epochs 1.5"),
        ({"batch_size": 0}, "a recipe has at least 1 input a step, found batch_size 0"),
        ({"learning_rate": float("inf")}, "a learning rate is a finite number above 0, found learning_rate inf"),
        ({"weight_decay": -1e-3}, "a weight decay is a finite number from 0, found weight_decay -0.001"),
        ({"warmup_epochs": -1}, "found warmup_epochs -1"),
        ({"clip_grad": 0}, "gradients are clipped to a finite norm above 0, found clip_grad 0"),
        ({"ema": 1}, "lies above 0 and below 1, found ema 1"),
        ({"mixup": -0.1}, "the alpha of mixup is a finite number from 0"),
        ({"label_smoothing": 1}, "label smoothing is a share from 0 to below 1, found label_smoothing 1"),
        ({"augment": ("flop",)}, r"unknown augmentation 'flop' \(did you mean 'flip'\?\)"),
    ],
)
def test_what_a_stage_refuses(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Stage(**(STAGE | change))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, "a recipe has stages, or names a recipe for the heads; 'own' has neither"),
        ({"heads": "frosen"}, r"unknown recipe 'frosen' \(did you mean 'frozen'\?\)"),
        ({"stages": (Stage(**STAGE, trains="adapters"),)}, "'own' has one and adapter_rank None"),
        ({"stages": (Stage(**STAGE),), "adapter_rank": 4}, "'own' has none and adapter_rank 4"),
        ({"stages": (Stage(**STAGE, trains="adapters"),), "adapter_rank": 0}, "a rank of at least 1, found"),
    ],
)
def test_what_a_recipe_refuses(facts: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recipe(name="own", description="", source="own", **facts)
