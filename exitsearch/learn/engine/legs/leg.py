"""Legs: the parts of a training in the order in which they run, and what of a model trains in each.

A stage is one leg, or one for each chosen exit where it trains them one after the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from exitsearch.errors import InputError
from exitsearch.learn.recipes.recipe import Recipe, Stage
from exitsearch.models.multi_exit import MultiExitModel


@dataclass(frozen=True)
class Leg:
    """A stage, or the share of it that trains one exit.

    Attributes:
        stage: what is done.
        exit: number of the only exit whose head trains; None trains all that the stage names.
    """

    stage: Stage
    exit: int | None = None

    @property
    def name(self) -> str:
        """The stage's, with the exit's number where it is for one: `heads`, `heads/0`."""
        return self.stage.name if self.exit is None else f"{self.stage.name}/{self.exit}"


def legs_of(recipe: Recipe, *, exits: int) -> tuple[Leg, ...]:
    """The legs of a recipe over a model with so many chosen exits.

    Raises:
        InputError: stages of one name, whose random streams and log could not be told apart.
    """
    names = [stage.name for stage in recipe.stages]
    if doubled := [name for name in names if names.count(name) > 1]:
        raise InputError(f"stages of a recipe have names of their own, found {doubled[0]!r} twice; rename one of them")
    found: list[Leg] = []
    for stage in recipe.stages:
        found += [Leg(stage, number) for number in range(exits)] if stage.each_exit else [Leg(stage)]
    return tuple(found)


def set_trained(
    model: MultiExitModel, leg: Leg, *, own: Mapping[str, bool], adapters: Iterable[nn.Parameter] = ()
) -> None:
    """Let what trains in a leg train, and everything else stand still: no gradient, and in eval mode.

    Eval mode matters as much as the missing gradient: a batch norm in training mode moves its running statistics, and
    dropout would make a frozen backbone answer at random.

    Args:
        model: with adapters attached where the leg trains them.
        leg: the leg.
        own: whether each parameter, by its name, trains at all: a fixed position embedding never does.
        adapters: parameters of the backbone that train in a leg of adapters.
    """
    model.eval().requires_grad_(False)
    stage = leg.stage
    if stage.trains == "all" and leg.exit is None:
        trained: Iterable[nn.Module] = (model,)
    else:
        trained = [head for number, head in enumerate(model.heads) if leg.exit in (None, number)]
    for module in trained:
        module.train()
        module.requires_grad_(True)
    for parameter in adapters:
        parameter.requires_grad_(True)
    for name, parameter in model.named_parameters():
        if not own.get(name, True):
            parameter.requires_grad_(False)


def check_given(recipe: Recipe, *, teacher: nn.Module | None, warm: bool, order: Tensor | None, samples: int) -> None:
    """Refuse a recipe that lacks what it is to be given, or is given what it does not take, before anything is trained.

    Args:
        recipe: is to train.
        teacher: another model.
        warm: whether the heads have learnt already, or learn first.
        order: numbers of samples, easy ones first.
        samples: of the training split.

    Raises:
        InputError: names the stage and what it lacks.
    """
    for stage in recipe.stages:
        if stage.teacher == "given" and teacher is None:
            raise InputError(
                f"the stage {stage.name} of {recipe.name} learns from another model, and none was given; name one with "
                "--teacher"
            )
        if stage.order == "curriculum" and order is None and not warm:
            raise InputError(
                f"the stage {stage.name} of {recipe.name} shows easy samples first, and untrained heads do not tell "
                "which they are; begin with trained ones (--start OUTCOMES)"
            )
    if teacher is not None and all(stage.teacher is None for stage in recipe.stages):
        raise InputError(f"{recipe.name} learns from no teacher; leave out --teacher, or take the recipe distill")
    if order is not None and sorted(order.tolist()) != list(range(samples)):
        raise InputError(
            f"an order names each of the {samples:,} samples once, found {len(order):,} numbers; "
            "give each number from 0 once"
        )


def with_teacher(recipe: Recipe) -> Recipe:
    """The same, learning from a given model wherever it would learn from its own final exit."""
    stages = (
        dataclasses.replace(stage, teacher="given") if stage.teacher == "final" else stage for stage in recipe.stages
    )
    return dataclasses.replace(recipe, stages=tuple(stages))
