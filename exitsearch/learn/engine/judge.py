"""What a model in training is judged by: the metric of every exit on a split, and what is kept the best of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor

from exitsearch.errors import ExitSearchError
from exitsearch.learn.data import Split, batches, in_order
from exitsearch.learn.data.tiles import picture_labels, sum_batch, whole_batches
from exitsearch.learn.losses import score_sum
from exitsearch.learn.targets import TargetScale
from exitsearch.models.multi_exit import MultiExitModel
from exitsearch.specs.backbone import Task

# From the metric of every exit on the choice split, the final one last, to what is kept the best of: higher is better.
Judge = Callable[[Sequence[float]], float]

# Samples that answer at once where nothing else is said.
_AT_ONCE = 256

MEAN_ACCURACY = "mean accuracy of the exits on the choice split"
MEAN_ERROR = "minus the mean error of the exits on the choice split"
GIVEN = "as given: a value of the exits' scores on the choice split"


def default_judge(task: Task) -> Judge:
    """The mean over the exits; for a regression minus the mean error.

    >>> default_judge("classification")([0.5, 0.75]), default_judge("regression")([0.5, 1.5])
    (0.625, -1.0)
    """
    sign = 1.0 if task == "classification" else -1.0
    return lambda scores: sign * math.fsum(scores) / len(scores)


def criterion_words(task: Task, judge: Judge | None) -> str:
    """What is kept the best of, for people: a judge's own `words`, where it has them."""
    if judge is not None:
        return str(getattr(judge, "words", GIVEN))
    return MEAN_ACCURACY if task == "classification" else MEAN_ERROR


@torch.no_grad()
def exit_scores(
    model: MultiExitModel,
    split: Split,
    *,
    batch_size: int,
    accelerator: Accelerator,
    scale: TargetScale | None,
) -> list[float]:
    """The metric of every exit on a split, the final one last, the processes sharing the work.

    Args:
        model: is put into eval mode.
        split: where samples are tiles, the scores are of pictures.
        batch_size: inputs at once.
        accelerator: of the training; on it, the sums of all processes are added up.
        scale: that the model learns in; None: in the targets' own.

    Raises:
        ExitSearchError: answers that are not finite.
    """
    model.eval()
    task = model.backbone.facts.task
    labels = picture_labels(split)
    order = whole_batches(split, batch_size)
    starts = _starts(split, order)
    rank, count = accelerator.process_index, accelerator.num_processes
    totals = torch.zeros(len(model.heads) + 1, dtype=torch.float64)
    mine = order[rank::count]
    found = batches(split, order=mine, device=accelerator.device)
    for batch, start, (inputs, _) in zip(mine, starts[rank::count], found, strict=True):
        for number, outputs in enumerate(model(inputs)):
            answers = outputs.float() if scale is None else scale.restore(outputs.float())
            summed = sum_batch(answers.cpu(), split, batch)
            # A class of numbers that are not finite is no answer; of a regression the error says it.
            right = score_sum(summed, labels[start : start + len(summed)], task=task)
            totals[number] += right if bool(summed.isfinite().all()) else math.nan
    if count > 1:
        totals = accelerator.reduce(totals.to(accelerator.device)).cpu()
    scores: list[float] = (totals / len(labels)).tolist()
    for number, score in enumerate(scores):
        if not math.isfinite(score):
            words = "the final exit" if number == len(model.heads) else f"exit {number}"
            raise ExitSearchError(
                f"{words} answers with numbers that are not finite; train with a lower learning rate (--lr)"
            )
    return scores


@torch.no_grad()
def exit_answers(model: MultiExitModel, split: Split, *, device: torch.device) -> list[Tensor]:
    """What every exit answers to each sample of a split, on the CPU [samples, num_outputs], the final one last."""
    model.eval()
    found: list[list[Tensor]] = []
    for inputs, _ in batches(split, order=in_order(len(split), _AT_ONCE), device=device):
        found.append([outputs.float().cpu() for outputs in model(inputs)])
    return [torch.cat(answers) for answers in zip(*found, strict=True)]


def _starts(split: Split, order: list[list[int]]) -> list[int]:
    """The number of the first picture of each batch."""
    sizes = [len(batch) if split.groups is None else len(set(split.groups[batch].tolist())) for batch in order]
    ends: Tensor = torch.tensor([0, *sizes]).cumsum(0)
    return [int(end) for end in ends[:-1]]
