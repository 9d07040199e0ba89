"""joint: every exit at once, a weighted sum of their losses."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from exitsearch.learn.recipes.losses.registry import register
from exitsearch.learn.recipes.losses.terms import check_weights, exit_losses
from exitsearch.learn.recipes.outputs import ExitOutputs


@register(
    "joint",
    formula="sum of CE_k over the chosen exits + 2 CE_final; or other weights",
    source="Multi-Exit Vision Transformer for Dynamic Inference (BMVC 2021, arXiv 2106.15183)",
)
def joint(
    outputs: ExitOutputs,
    targets: Tensor,
    teacher: Tensor | None,
    step: int,
    *,
    weights: float | Sequence[float] = 1.0,
    final: float = 2.0,
) -> dict[str, Tensor]:
    """sum_k w_k CE_k + w_final CE_final; for a regression the absolute error in place of CE.

    A sum, as in the authors' code, and not a mean: with more exits it is larger. Source: Multi-Exit Vision Transformer
    for Dynamic Inference (2021): weight 1 for each early exit and 2 for the final one.

    Args:
        outputs: of the model.
        targets: class indices [batch], shares of classes [batch, classes], or regression targets.
        teacher: not looked at.
        step: not looked at.
        weights: of the chosen exits: one number for all of them, or one for each; 0 or more.
        final: weight of the final exit, 0 or more.

    Raises:
        InputError: weights that are not one for each exit, or below 0.
    """
    each = check_weights(weights, final=final, count=len(outputs.logits), loss="joint")
    losses = exit_losses(outputs, targets)
    return {name: weight * loss for name, weight, loss in zip(outputs.facts.exits, each, losses, strict=True)}
