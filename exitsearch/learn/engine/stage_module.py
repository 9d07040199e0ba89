"""StageModule: a model and one stage of a recipe as one module, for anybody's training loop.

    for stage in stage_modules(model, recipe=get_recipe("lgvit"), chances=chances_of(config)):
        optimizer = torch.optim.AdamW(stage.trained_parameters(), lr=stage.leg.stage.learning_rate)
        for inputs, targets in loader:
            found = stage(inputs, targets)      # {"loss": their sum, "exit_0": ..., "exit_1": ..., "final": ...}
            ...

What it takes off a loop's hands is what goes wrong there unseen. Loops and libraries call `train()` as they please,
and batch norms and dropout of a backbone that is to stand still would come to life: here `train()` wakes only what the
stage trains. The loss is computed inside `forward`, so that DistributedDataParallel around this module averages the
gradients of every exit. The dictionary with `loss` is what timm's tasks, Lightning's `training_step` and the
`Trainer` of Hugging Face take.

The rest is the loop's own: the optimiser, its rates, the order of samples, mixup (which gives soft targets), and of a
regression the unit of the targets (`units.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from exitsearch.errors import InputError
from exitsearch.learn.engine.legs.leg import Leg, legs_of, set_trained
from exitsearch.learn.engine.legs.objective import Objective
from exitsearch.learn.recipes.check import check_recipe
from exitsearch.learn.recipes.outputs import ExitFacts, exit_facts
from exitsearch.learn.recipes.recipe import Recipe, get_recipe
from exitsearch.models.adapters import adapter_parameters, attach_adapters, merge_adapters
from exitsearch.models.multi_exit import MultiExitModel


class StageModule(nn.Module):
    """From a batch to the loss of a stage; `train()` wakes what the stage trains, and nothing else.

    Attributes:
        model: is trained in place.
        leg: the stage, or its share for one exit; `leg.stage` names rates, epochs and batch size.

    Args:
        model: is trained in place.
        leg: the stage, or its share for one exit.
        facts: of the model.
        teacher: another model, from inputs to logits [batch, num_outputs], on the model's device. No part of this
            module: its weights are neither saved nor trained along.
        accumulate: calls of `forward` for one step of the optimiser, at least 1.
        adapter_rank: of the adapters that are attached to the backbone where the stage trains them.

    Raises:
        InputError: an `accumulate` below 1, or adapters that cannot be attached.
    """

    def __init__(
        self,
        model: MultiExitModel,
        *,
        leg: Leg,
        facts: ExitFacts,
        teacher: nn.Module | None = None,
        accumulate: int = 1,
        adapter_rank: int | None = None,
    ) -> None:
        super().__init__()
        if accumulate < 1:
            raise InputError(
                f"a step of the optimiser takes at least 1 batch, found accumulate {accumulate}; "
                "give a whole number from 1"
            )
        self.leg, self._accumulate, self._calls = leg, accumulate, 0
        self._own = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
        if leg.stage.trains == "adapters":
            assert adapter_rank is not None
            attach_adapters(model.backbone, rank=adapter_rank, seed=torch.initial_seed() % 2**31)
        self.objective = Objective(model, stage=leg.stage, facts=facts)
        # Kept out of torch's registration.
        self.__dict__["teacher"] = None if teacher is None else teacher.eval().requires_grad_(False)
        self.train()

    teacher: nn.Module | None

    @property
    def model(self) -> MultiExitModel:
        """The model that is trained."""
        return self.objective.model

    def trained_parameters(self) -> list[nn.Parameter]:
        """What an optimiser is given: the parameters that this stage trains."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def train(self, mode: bool = True) -> Self:
        """Training mode for what the stage trains, eval mode and no gradient for the rest; False: eval mode for all."""
        super().train(mode)
        if mode:
            set_trained(self.model, self.leg, own=self._own, adapters=adapter_parameters(self.model.backbone))
        return self

    def release(self) -> None:
        """Give the model back: adapters merged, in eval mode, with the gradients that it asked for before."""
        merge_adapters(self.model.backbone)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(self._own.get(name, True))
        self.model.eval()

    def forward(self, inputs: Any, targets: Tensor) -> dict[str, Tensor]:
        """The terms of the loss by name, and as `loss` their sum, which is to be minimised.

        Args:
            inputs: [batch, channels, height, width].
            targets: class indices [batch], shares of classes [batch, classes], or regression targets.
        """
        taught = None
        if self.teacher is not None and self.leg.stage.teacher == "given":
            with torch.no_grad():
                taught = self.teacher(inputs)
        terms = self.objective(inputs, targets, taught, self._calls // self._accumulate)
        if self.training and torch.is_grad_enabled():
            self._calls += 1
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}


def stage_modules(
    model: MultiExitModel,
    *,
    recipe: str | Recipe,
    chances: Sequence[float] | None = None,
    teacher: nn.Module | None = None,
    accumulate: int = 1,
) -> Iterator[StageModule]:
    """A module for every stage of a recipe in order; each is to be trained before the next is asked for.

    After the last, the model is in eval mode, with the gradients that it asked for before.

    Args:
        model: is trained in place; with a final classifier that has learnt, or a recipe that trains all.
        recipe: how to train, or its name; one with stages.
        chances: as in `exit_facts`; for losses that ask for them.
        teacher: another model, for stages that learn from one.
        accumulate: batches of one step of the optimiser, at least 1.

    Raises:
        InputError: a recipe without stages, or one that cannot train this model.
    """
    recipe, facts = get_recipe(recipe), exit_facts(model, chances=chances)
    if not recipe.stages:
        raise InputError(
            f"{recipe.name} trains heads over the frozen backbone in a loop of its own (exitsearch train --recipe "
            f"{recipe.name}); take a recipe with stages for a loop of yours, such as joint or layerwise"
        )
    check_recipe(recipe, facts=facts)
    for stage in recipe.stages:
        if stage.teacher == "given" and teacher is None:
            raise InputError(f"the stage {stage.name} of {recipe.name} learns from another model; give it as teacher")
    if not model.backbone.final_is_trained and recipe.stages[0].trains == "heads":
        raise InputError(
            f"{recipe.name} trains exit heads alone, and the final classifier of {model.backbone.facts.name} is new; "
            "begin with the heads and the classifier of exitsearch train-heads, or take joint"
        )
    return _in_turn(model, recipe, facts, teacher, accumulate)


def _in_turn(
    model: MultiExitModel, recipe: Recipe, facts: ExitFacts, teacher: nn.Module | None, accumulate: int
) -> Iterator[StageModule]:
    for leg in legs_of(recipe, exits=len(model.heads)):
        rank = recipe.adapter_rank
        module = StageModule(model, leg=leg, facts=facts, teacher=teacher, accumulate=accumulate, adapter_rank=rank)
        try:
            yield module
        finally:
            module.release()
