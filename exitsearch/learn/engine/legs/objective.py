"""Objective: a model and the loss of a stage in one module, so that gradients of several processes are averaged."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from exitsearch.learn.recipes.losses import LOSSES
from exitsearch.learn.recipes.outputs import ExitFacts, exit_outputs
from exitsearch.learn.recipes.recipe import Stage
from exitsearch.models.multi_exit import MultiExitModel


class Objective(nn.Module):
    """From a batch to the terms of a stage's loss.

    DistributedDataParallel averages the gradients of what it calls, so the loss stands inside.

    Args:
        model: is trained.
        stage: names loss and teacher.
        facts: of the model.
    """

    def __init__(self, model: MultiExitModel, *, stage: Stage, facts: ExitFacts) -> None:
        super().__init__()
        self.model = model
        self.stage = stage
        self.facts = facts
        self.loss = LOSSES[stage.loss]

    def forward(self, inputs: Any, targets: Tensor, teacher: Tensor | None, step: int) -> dict[str, Tensor]:
        """Terms whose sum is minimised.

        Args:
            inputs: [batch, channels, height, width].
            targets: as losses take them.
            teacher: logits [batch, num_outputs] of another model; None takes the model's own final exit where the stage
                names that as teacher.
            step: steps of the optimiser in this leg so far.
        """
        outputs = exit_outputs(self.model, inputs, needs=self.loss.needs, facts=self.facts)
        if self.stage.teacher == "final":
            teacher = outputs.logits[-1].detach()
        return self.loss.function(outputs, targets, teacher, step, **self.stage.options)
