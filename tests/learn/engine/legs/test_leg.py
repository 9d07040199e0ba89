"""Legs: the order of a recipe's parts, what trains in each, and what a recipe must be given."""

from __future__ import annotations

import pytest
import torch
from small_training import recipe, small_model, stage
from torch import nn

from exitsearch.errors import InputError
from exitsearch.learn.engine.legs.leg import Leg, check_given, legs_of, set_trained, with_teacher


def test_a_stage_for_each_exit_is_a_leg_for_each() -> None:
    found = legs_of(recipe(stage("heads", trains="heads", each_exit=True), stage("all")), exits=2)
    assert [leg.name for leg in found] == ["heads/0", "heads/1", "all"]


def test_two_stages_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="'all' twice"):
        legs_of(recipe(stage("all"), stage("all")), exits=1)


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.mark.parametrize(
    ("leg", "training"),
    [
        (Leg(stage(trains="all")), {"backbone", "head 0", "head 1"}),
        (Leg(stage(trains="heads")), {"head 0", "head 1"}),
        (Leg(stage(trains="heads", each_exit=True), exit=1), {"head 1"}),
        (Leg(stage(trains="adapters")), {"head 0", "head 1"}),
    ],
)
def test_what_does_not_train_is_in_eval_mode_and_has_no_gradient(model, leg, training) -> None:
    set_trained(model, leg, own={})
    parts = {"backbone": model.backbone, "head 0": model.heads[0], "head 1": model.heads[1]}
    for name, part in parts.items():
        assert part.training == (name in training), name
        assert {parameter.requires_grad for parameter in part.parameters()} == {name in training}, name


def test_a_parameter_that_never_trains_stays_so(model) -> None:
    name = next(name for name, _ in model.named_parameters())
    set_trained(model, Leg(stage(trains="all")), own={name: False})
    frozen = [key for key, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == [name]


def test_adapters_train_over_a_backbone_that_does_not(model) -> None:
    one = next(model.backbone.parameters())
    set_trained(model, Leg(stage(trains="adapters")), own={}, adapters=[one])
    assert [parameter for parameter in model.backbone.parameters() if parameter.requires_grad] == [one]


def _check(asked, *, teacher=None, warm=False, order=None) -> None:
    check_given(asked, teacher=teacher, warm=warm, order=order, samples=3)


def test_what_a_recipe_lacks_is_said_before_anything_is_trained() -> None:
    with pytest.raises(InputError, match="learns from another model, and none was given; name one with --teacher"):
        _check(recipe(stage(loss="distill", teacher="given")))
    with pytest.raises(InputError, match="untrained heads do not tell"):
        _check(recipe(stage(order="curriculum")))
    with pytest.raises(InputError, match="own learns from no teacher"):
        _check(recipe(stage()), teacher=nn.Identity())
    with pytest.raises(InputError, match="each of the 3 samples once, found 2"):
        _check(recipe(stage(order="curriculum")), order=torch.tensor([0, 1]))
    _check(recipe(stage(order="curriculum")), warm=True)


def test_a_teacher_takes_the_place_of_the_final_exit() -> None:
    found = with_teacher(recipe(stage("a"), stage("b", loss="distill", teacher="final")))
    assert [stage.teacher for stage in found.stages] == [None, "given"]
