"""Curriculum: how difficult each training sample is, and which samples an epoch shows, easy ones first.

    difficulty = sample_difficulty(logits, labels, task="classification")    # of every exit on the training split
    order = epoch_order(difficulty, epoch=0, epochs=10, seed=0)

Scoring by a trained model and pacing by a growing share of the samples follow On the Power of Curriculum Learning in
Training Deep Networks (2019, arXiv 1904.03626); its models are single answers, here all exits are asked.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from exitsearch.errors import InputError
from exitsearch.specs.backbone import Task

# Share of the samples, the easiest ones, that the first epoch shows; and share of the epochs after which all are shown.
# A mild pace: a backbone that is fine-tuned has learned much already.
START = 0.3
GROWN = 0.5


def sample_difficulty(logits: Sequence[Tensor], targets: Tensor, *, task: Task) -> Tensor:
    """How difficult each sample is for the exits of a model, higher is harder; float64 [samples].

    For classification the number of exits that answer wrong, and among samples of one number the mean probability that
    the exits give to wrong classes, which lies between 0 and 1. For a regression the mean absolute error of the exits.

    Args:
        logits: outputs [samples, num_outputs] of every exit, in any order, at least one.
        targets: class indices [samples], or regression targets.
        task: what the outputs mean.

    Raises:
        InputError: no exit, or another number of samples in outputs and targets.
    """
    if not logits or any(len(one) != len(targets) for one in logits):
        found = ", ".join(str(len(one)) for one in logits) or "no exit"
        raise InputError(
            f"difficulty is told from the outputs of one exit or more for each of the {len(targets)} samples, found "
            f"{found}; give outputs of the split that the targets are of"
        )
    if task == "regression":
        errors = [(one.double() - targets.double().reshape(one.shape)).abs().mean(1) for one in logits]
        return torch.stack(errors).mean(0)
    wrong = torch.stack([one.argmax(1) != targets for one in logits]).double().sum(0)
    given = [one.double().softmax(1).gather(1, targets[:, None])[:, 0] for one in logits]
    # Below 1, so that it never outweighs an exit.
    doubt = (1 - torch.stack(given).mean(0)).clamp(0, 1 - 1e-9)
    return wrong + doubt


def shown_share(*, epoch: int, epochs: int, start: float = START, grown: float = GROWN) -> float:
    """Share of the samples, the easiest ones, that an epoch draws from: it grows evenly from `start` to 1.

    >>> [round(shown_share(epoch=epoch, epochs=10), 2) for epoch in (0, 1, 4, 5, 9)]
    [0.3, 0.44, 0.86, 1.0, 1.0]

    Args:
        epoch: from 0.
        epochs: of the stage, at least 1.
        start: share in the first epoch, above 0 to 1.
        grown: share of the epochs after which all samples are drawn from, 0 to 1.

    Raises:
        InputError: a number out of its range.
    """
    if not 0 < start <= 1:
        raise InputError(
            f"a curriculum starts with a share of the samples above 0 and up to 1, found {start}; give one such as 0.3"
        )
    if not 0 <= grown <= 1:
        raise InputError(
            f"a curriculum shows all samples after a share of the epochs from 0 to 1, found {grown}; give one such "
            "as 0.5"
        )
    if not 0 <= epoch < epochs:
        raise InputError(f"an epoch is numbered from 0 to {epochs - 1} of {epochs}, found {epoch}; give one of these")
    passed = 1.0 if grown == 0 else min(1.0, epoch / (grown * epochs))
    return start + (1 - start) * passed


def epoch_order(
    difficulty: Tensor, *, epoch: int, epochs: int, seed: int, start: float = START, grown: float = GROWN
) -> Tensor:
    """Sample indices of one epoch: as many as there are samples, drawn from the easiest share of them.

    An epoch keeps its length, so that rates and resuming need not know of the curriculum: of a share of 40%, each of
    those samples comes two or three times. The order depends on nothing but the arguments.

    Args:
        difficulty: of each sample [samples], higher is harder; of equals the first comes first.
        epoch: from 0.
        epochs: of the stage.
        seed: of the training.
        start: as in `shown_share`.
        grown: as in `shown_share`.

    Returns:
        int64 [samples] on the CPU.

    Raises:
        InputError: difficulties that are not one finite number a sample, or a number out of its range.
    """
    count = len(difficulty) if difficulty.ndim == 1 else 0
    if count == 0 or not bool(torch.isfinite(difficulty).all()):
        raise InputError(
            f"a curriculum needs one finite difficulty for each sample, found a tensor {tuple(difficulty.shape)}"
            f"{'' if count == 0 else ' with numbers that are not finite'}; take sample_difficulty"
        )
    share = shown_share(epoch=epoch, epochs=epochs, start=start, grown=grown)
    easiest = torch.argsort(difficulty.cpu(), stable=True)[: max(1, math.ceil(share * count))]
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/curriculum/{epoch}".encode()))
    rounds = math.ceil(count / len(easiest))
    drawn = [easiest[torch.randperm(len(easiest), generator=generator)] for _ in range(rounds)]
    return torch.cat(drawn)[:count]
