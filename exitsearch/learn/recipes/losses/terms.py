"""What several losses are made of: the loss of every exit, what a teacher says, checked options."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from exitsearch.errors import InputError
from exitsearch.learn.losses import task_loss
from exitsearch.learn.recipes.outputs import ExitOutputs


def exit_losses(outputs: ExitOutputs, targets: Tensor) -> list[Tensor]:
    """The task's mean loss of every exit, the final one last: cross entropy, or the absolute error for regression.

    Args:
        outputs: of the model.
        targets: class indices [batch], shares of classes [batch, classes], or regression targets.
    """
    return [task_loss(logits, targets, task=outputs.facts.task) for logits in outputs.logits]


def teacher_logits(outputs: ExitOutputs, teacher: Tensor | None) -> Tensor:
    """A teacher's logits [batch, num_outputs], detached; where none is given, those of the model's own final exit.

    Raises:
        InputError: when the teacher has another number of outputs.
    """
    own = outputs.logits[-1]
    if teacher is None:
        return own.detach()
    if teacher.shape != own.shape:
        raise InputError(
            f"a teacher answers as the model does, with {own.shape[1]} outputs for each of {len(own)} inputs, found "
            f"{'x'.join(map(str, teacher.shape))}; give one that was trained for the same data"
        )
    return teacher.detach().to(own.dtype)


def soft_divergence(logits: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(logits / T)), summed over the batch.

    The factor keeps the size of the gradients as the temperature changes. Source: Distilling the Knowledge in a Neural
    Network (2015, arXiv 1503.02531), section 2.

    Args:
        logits: of the exit that learns [batch, classes].
        teacher: [batch, classes], detached.
        temperature: T, above 0.
    """
    divergence = F.kl_div(
        F.log_softmax(logits / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        reduction="sum",
        log_target=True,
    )
    return divergence * temperature**2


def check_weights(weights: float | Sequence[float], *, final: float, count: int, loss: str) -> tuple[float, ...]:
    """A weight for every exit, the final one last.

    Args:
        weights: of the chosen exits: one number for all of them, or one for each.
        final: weight of the final exit.
        count: exits, the final one included.
        loss: its name, for the message.

    Raises:
        InputError: when they are not one for each chosen exit, or one is below 0 or not finite.
    """
    early = [float(weights)] * (count - 1) if isinstance(weights, int | float) else [float(w) for w in weights]
    if len(early) != count - 1:
        raise InputError(
            f"weights of the loss {loss} are one number, or one for each of the {count - 1} chosen exits (the final "
            f"one has its own), found {len(early)}; give {count - 1}"
        )
    for weight in (*early, final):
        check_option(weight, weight >= 0, loss=loss, rule="a weight is a finite number from 0")
    return (*early, float(final))


def check_option(value: float, allowed: bool, *, loss: str, rule: str) -> None:
    """Refuse an option of a loss that is not finite or out of its range.

    Args:
        value: what was given.
        allowed: whether it lies in the range.
        loss: its name.
        rule: what is allowed, in words.

    Raises:
        InputError: when it is not allowed.
    """
    if not (allowed and math.isfinite(value)):
        raise InputError(f"{rule}, found {value} in the options of the loss {loss}; give a number in that range")
