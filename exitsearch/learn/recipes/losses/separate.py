"""separate: every exit learns on its own, none weighs more than another."""

from __future__ import annotations

from torch import Tensor

from exitsearch.learn.recipes.losses.registry import register
from exitsearch.learn.recipes.losses.terms import exit_losses
from exitsearch.learn.recipes.outputs import ExitOutputs


@register(
    "separate",
    formula="CE_k of every exit and of the final one, each for its own head",
    source="classifier-wise training, as in Multi-Exit Vision Transformer for Dynamic Inference (arXiv 2106.15183)",
)
def separate(outputs: ExitOutputs, targets: Tensor, teacher: Tensor | None, step: int) -> dict[str, Tensor]:
    """CE_k for each exit; for a regression the absolute error.

    For stages that train heads over a frozen backbone: there each term has gradients in the weights of its own head and
    in no other, so that heads trained together come out as those trained alone. Where the final classifier is frozen
    too, its term is a number to look at, without a gradient. Source: classifier-wise training of Multi-Exit Vision
    Transformer for Dynamic Inference (2021).

    Args:
        outputs: of the model.
        targets: class indices [batch], shares of classes [batch, classes], or regression targets.
        teacher: not looked at.
        step: not looked at.
    """
    return dict(zip(outputs.facts.exits, exit_losses(outputs, targets), strict=True))
