"""check_recipe: what cannot work is refused, what works otherwise is said."""

from __future__ import annotations

import dataclasses

import pytest
from small_exits import facts, small_config, small_model

from exitsearch.errors import InputError
from exitsearch.learn.recipes.check import check_recipe, model_family
from exitsearch.learn.recipes.outputs import exit_facts
from exitsearch.learn.recipes.recipe import RECIPES, get_recipe
from exitsearch.models.backbone import create_backbone
from exitsearch.models.multi_exit import attach_exits


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"lgvit"}))
def test_usually_there_is_nothing_to_say(name: str) -> None:
    assert check_recipe(RECIPES[name], facts=facts(chances=(0.5, 0.5)), family="resnet") == []


def test_lgvit_on_its_own_families_and_heads() -> None:
    model = small_model()
    assert model_family(model) == "vision_transformer"
    assert check_recipe(RECIPES["lgvit"], facts=exit_facts(model), family=model_family(model)) == []


def test_lgvit_elsewhere() -> None:
    notes = check_recipe(RECIPES["lgvit"], facts=facts(heads=("linear",)), family="resnet")
    assert len(notes) == 2
    assert "made for vision_transformer, deit, swin_transformer; the backbone is of resnet" in notes[0]
    assert "no exit has one: its heads learn from labels and the final exit alone" in notes[1]


@pytest.mark.parametrize("name", ["test_resnet.resnet", "deit_tiny_distilled_patch16_224.deit"])
def test_families_are_timms(name: str) -> None:
    model, family = name.split(".")
    backbone = create_backbone(model, device="meta")
    assert model_family(attach_exits(backbone, config=small_config(backbone, ()))) == family


def test_exits_that_are_never_in_hand() -> None:
    found = facts(placements=(1, 4), heads=("linear", "linear"), chances=(0.0, 0.7, 0.0))
    (note,) = check_recipe(RECIPES["budget"], facts=found)
    assert "the answer of placement 1, the final exit is never the one in hand (chance 0)" in note
    assert check_recipe(get_recipe("budget", options={"least": 0.01}), facts=found) == []


def test_budget_without_chances() -> None:
    with pytest.raises(InputError, match=r"no chances were given; give chances, one number for each of the 2 exits"):
        check_recipe(RECIPES["budget"], facts=facts())


def test_heads_alone_without_heads() -> None:
    none = facts(placements=(), heads=())
    with pytest.raises(InputError, match=r"trains exit heads alone, and the configuration has none; take a recipe"):
        check_recipe(RECIPES["copycat"], facts=none)
    assert check_recipe(RECIPES["joint"], facts=none) == []


@pytest.mark.parametrize("attribute", ["mixup", "cutmix", "label_smoothing"])
def test_classes_are_not_mixed_in_a_regression(attribute: str) -> None:
    recipe = get_recipe("joint", **{attribute: 0.1})
    with pytest.raises(InputError, match=f"{attribute} mixes classes, and the task is a regression; set {attribute}"):
        check_recipe(recipe, facts=facts(task="regression"))
    assert check_recipe(recipe, facts=facts()) == []


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_options_are_tried_before_the_first_stage(task: str) -> None:
    """Those of a second stage too, which would else be met after the first one's hours."""
    first, second = RECIPES["lgvit"].stages
    wrong = dataclasses.replace(second, options={"temperature": 0.0})
    recipe = dataclasses.replace(RECIPES["lgvit"], stages=(first, wrong))
    with pytest.raises(InputError, match=r"a temperature is a finite number above 0, found 0.0 in the options"):
        check_recipe(recipe, facts=facts(heads=("lph",), task=task, strides=(1,)))


def test_weights_are_one_for_each_exit_of_the_model() -> None:
    recipe = get_recipe("joint", options={"weights": [1.0, 2.0]})
    with pytest.raises(InputError, match=r"one for each of the 1 chosen exits .* found 2"):
        check_recipe(recipe, facts=facts())
    assert check_recipe(recipe, facts=facts(placements=(1, 2), heads=("linear", "linear"))) == []
