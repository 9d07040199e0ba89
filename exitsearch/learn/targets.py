"""TargetScale: regression targets in a unit of their own, so that counts of 0 to 200 train as well as shares of one.

Heads learn on (target - centre) / spread. The centre is the median of the `heads` split's targets, the spread their
mean absolute deviation from it: location and scale of the absolute error that training minimises. In this unit the
best constant answer is 0 and its loss is 1, so that a loss of 0.25 reads as a quarter of that constant's error. The
spread is not the standard deviation, which a few far targets inflate by their squares, and not the median absolute
deviation, which is 0 as soon as more than half of the targets are one number (counts that are mostly 0).

Biases of last layers start at 0: at the median. Before anything of a head is written, its answers are brought into
the targets' own unit, once: folded into its last layer's weights where it names one (`ExitHead.output_layers`), or else
kept in an `OutputScale` behind it. A checkpoint in the middle of training holds what is trained, unfolded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from exitsearch.models.heads import ExitHead
from exitsearch.specs.backbone import Task

# Of what heads over a regression learn on, for the identity of a training.
STANDARDISED = "standardised by median and mean absolute deviation"


@dataclass(frozen=True)
class TargetScale:
    """Centre and spread of regression targets.

    Attributes:
        centre: the median of each target [outputs], in float64.
        spread: mean absolute deviation from it [outputs], above 0, in float64.
    """

    centre: Tensor
    spread: Tensor

    @classmethod
    def of(cls, targets: Tensor) -> TargetScale:
        """The scale of targets [samples] or [samples, outputs], at least one sample.

        Where all are one number, the spread is 1.
        """
        numbers = targets.double().cpu().numpy().reshape(len(targets), -1)
        # numpy's median lies halfway between the two middle targets; torch's would take the lower one.
        centre = np.median(numbers, axis=0)
        spread = np.abs(numbers - centre).mean(axis=0)
        return cls(torch.from_numpy(centre), torch.from_numpy(np.where(spread > 0, spread, 1.0)))

    @classmethod
    def for_task(cls, targets: Tensor, *, task: Task) -> TargetScale | None:
        """The scale that heads learn in; None for classification."""
        return cls.of(targets) if task == "regression" else None

    def standardise(self, targets: Tensor) -> Tensor:
        """Targets [batch] or [batch, outputs] in units of the spread from the centre, in their dtype."""
        centre, spread = self._like(targets)
        numbers = targets.double().reshape(len(targets), -1)
        return ((numbers - centre) / spread).reshape(targets.shape).to(targets.dtype)

    def restore(self, outputs: Tensor) -> Tensor:
        """Outputs [batch, outputs] from units of the spread back into the targets' own, in their dtype."""
        centre, spread = self._like(outputs)
        return (outputs.double() * spread + centre).to(outputs.dtype)

    def _like(self, tensor: Tensor) -> tuple[Tensor, Tensor]:
        return self.centre.to(tensor.device), self.spread.to(tensor.device)


def output_layers(module: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    """The layers of a head, or of a backbone's classifier, that an affine of the outputs can be folded into.

    Args:
        module: an exit head; or the parts of `Backbone.final_classifier()`, of each of which the last linear layer or
            convolution counts.

    Returns:
        None but layers with a bias; nothing at all where one of them has none.
    """
    layers: Sequence[nn.Module]
    if isinstance(module, ExitHead):
        layers = module.output_layers()
    else:
        parts = list(module.children()) if isinstance(module, nn.ModuleList) else [module]
        ends = [[part for part in one.modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1:] for one in parts]
        layers = [layer for end in ends for layer in end] if all(ends) else []
    found = [layer for layer in layers if isinstance(layer, nn.Linear | nn.Conv2d) and layer.bias is not None]
    return found if len(found) == len(layers) else []


def can_answer_in(module: nn.Module) -> bool:
    """Whether a module trained on standardised targets can be made to answer in the targets' own unit.

    An exit head always can. A backbone's new classifier without a bias cannot: it learns on the targets as they are.
    """
    return isinstance(module, ExitHead) or bool(output_layers(module))


@torch.no_grad()
def start_at_centre(module: nn.Module) -> None:
    """Let a module that is trained on standardised targets start at their median: biases of last layers at 0."""
    for layer in output_layers(module):
        assert layer.bias is not None
        layer.bias.zero_()


@torch.no_grad()
def fold(module: nn.Module, scale: TargetScale) -> None:
    """Let a module that was trained on standardised targets answer in the targets' own unit, from now on."""
    layers = output_layers(module)
    for layer in layers:
        assert layer.bias is not None
        centre, spread = scale._like(layer.weight)
        columns = spread.reshape(-1, *[1] * (layer.weight.ndim - 1))
        layer.weight.copy_(layer.weight.double() * columns)
        layer.bias.copy_(layer.bias.double() * spread + centre)
    if not layers:
        assert isinstance(module, ExitHead)
        behind = module.attach_output_scale()
        centre, spread = scale._like(behind.scale)
        behind.scale.copy_(behind.scale.double() * spread)
        behind.shift.copy_(behind.shift.double() * spread + centre)
