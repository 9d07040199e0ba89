"""What training minimises and what is reported: loss, L2 penalty, score and fallback of each task."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exitsearch.specs.backbone import Task
from exitsearch.specs.outcomes import Metric


def metric_of(task: Task) -> Metric:
    """The metric of a task: accuracy for classification, mean absolute error for regression."""
    return "accuracy" if task == "classification" else "mae"


def task_loss(outputs: Tensor, labels: Tensor, *, task: Task) -> Tensor:
    """Mean loss over a batch: cross entropy, or the absolute error for regression.

    Args:
        outputs: raw outputs [batch, num_outputs].
        labels: class indices [batch] or shares of classes [batch, num_outputs]; or targets [batch] (one output) or
            [batch, num_outputs].
        task: what the outputs mean.
    """
    if task == "classification":
        # Shares of classes are in the dtype of whoever mixed them.
        return F.cross_entropy(outputs, labels.to(outputs.dtype) if labels.is_floating_point() else labels)
    return F.l1_loss(outputs, labels.reshape(outputs.shape))


def decay_penalty(head: nn.Module) -> Tensor | None:
    """Sum of squares of the weights that a head names in `decay_parameters()`; None when it names none."""
    named = getattr(head, "decay_parameters", None)
    squares = [weight.square().sum() for weight in named()] if callable(named) else []
    return torch.stack(squares).sum() if squares else None


def score(outputs: Tensor, labels: Tensor, *, task: Task) -> float:
    """The metric's score of raw outputs [samples, num_outputs] over a whole split, summed in double precision."""
    if task == "classification":
        return float((outputs.argmax(1) == labels).double().mean())
    return float((outputs.double() - labels.double().reshape(outputs.shape)).abs().mean())


def score_sum(outputs: Tensor, labels: Tensor, *, task: Task) -> float:
    """The metric's score of a block of samples times their number, so that blocks add up."""
    if task == "classification":
        return float((outputs.argmax(1) == labels).sum())
    return score(outputs, labels, task=task) * len(outputs)


def fallback_score(train_labels: Tensor, choice_labels: Tensor, *, task: Task) -> float:
    """Score of having no answer in time: 0 for accuracy, for regression the error of the best constant answer.

    The constant is the median of the training targets, which minimises the absolute error; its error is taken on the
    `choice` split.
    """
    if task == "classification":
        return 0.0
    # numpy's median lies halfway between the two middle targets; torch's would take the lower one.
    constant = np.median(train_labels.double().numpy(), axis=0)
    return float(np.abs(choice_labels.double().numpy() - constant).mean())
