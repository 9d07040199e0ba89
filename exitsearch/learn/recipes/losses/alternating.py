"""alternating: the final exit and all exits take turns, LGViT's first stage."""

from __future__ import annotations

from torch import Tensor

from exitsearch.learn.losses import task_loss
from exitsearch.learn.recipes.losses.registry import register
from exitsearch.learn.recipes.losses.terms import exit_losses
from exitsearch.learn.recipes.outputs import ExitOutputs


@register(
    "alternating",
    formula="even steps: CE_final; odd steps: (sum of p_k CE_k + D CE_final) / (sum of p_k + D)",
    source="LGViT (2023, arXiv 2308.00255), stage 1",
)
def alternating(outputs: ExitOutputs, targets: Tensor, teacher: Tensor | None, step: int) -> dict[str, Tensor]:
    """Even steps: CE_final alone. Odd steps: (sum_k p_k CE_k + D CE_final) / (sum_k p_k + D).

    p_k is the exit's block number from 1 (its placement + 1), D the backbone's depth, here its number of placements;
    for a regression the absolute error in place of CE. On even steps the heads have no gradients at all: an optimiser
    leaves them as they are, and several processes must be told to look for unused parameters. Source: LGViT (2023,
    arXiv 2308.00255) and the authors' code (`alternating_weighted`).

    Args:
        outputs: of the model.
        targets: class indices [batch], shares of classes [batch, classes], or regression targets.
        teacher: not looked at.
        step: optimiser steps from 0; the final exit's turn where it is even.
    """
    facts = outputs.facts
    if step % 2 == 0:
        return {"final": task_loss(outputs.logits[-1], targets, task=facts.task)}
    weights = [*(placement + 1 for placement in facts.placements), facts.depth]
    losses = exit_losses(outputs, targets)
    total = sum(weights)
    return {name: weight / total * loss for name, weight, loss in zip(facts.exits, weights, losses, strict=True)}
