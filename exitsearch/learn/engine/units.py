"""The unit that a regression is learnt in: a model's answers brought into it before training, and back afterwards.

As over a frozen backbone (`targets.py`), all exits learn on standardised targets. Exits that have learnt already answer
in the targets' own unit and are brought into the standardised one first; a new final classifier starts at its centre.
"""

from __future__ import annotations

from torch import nn

from exitsearch.learn.targets import TargetScale, can_answer_in, fold, start_at_centre
from exitsearch.models.multi_exit import MultiExitModel


def scale_of(model: MultiExitModel, scale: TargetScale | None) -> TargetScale | None:
    """The scale that a model can learn in; None where its final classifier could not be brought back from it."""
    return scale if scale is not None and can_answer_in(_final(model)) else None


def standardise(model: MultiExitModel, scale: TargetScale, *, trained: bool) -> None:
    """Let a model answer in units of the spread from the centre.

    Args:
        model: answers in the targets' own unit.
        scale: of the targets.
        trained: whether its heads have learnt; otherwise they start at the centre.
    """
    inverse = TargetScale(-scale.centre / scale.spread, 1 / scale.spread)
    for head in model.heads:
        fold(head, inverse) if trained else start_at_centre(head)
    if model.backbone.final_is_trained:
        fold(_final(model), inverse)
    else:
        start_at_centre(_final(model))


def restore(model: MultiExitModel, scale: TargetScale) -> None:
    """Let a model that was trained on standardised targets answer in their own unit."""
    for module in (*model.heads, _final(model)):
        fold(module, scale)


def _final(model: MultiExitModel) -> nn.ModuleList:
    return nn.ModuleList(model.backbone.final_classifier())
