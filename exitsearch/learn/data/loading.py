"""Batches of a split, in an order that seed and epoch give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from exitsearch.errors import InputError
from exitsearch.learn.data.splits import Split
from exitsearch.models.inputs import Batch


def batches(
    split: Split, *, order: Sequence[list[int]], start: int = 0, device: torch.device | str | None = None
) -> Iterator[tuple[Batch, Tensor]]:
    """Yield (images [batch, channels, height, width], labels [batch]) of the samples that `order` lists by batch.

    Where the split has side inputs, `Inputs` with these beside the images come in their place.

    The processes that read, if the split has any, stay for the next call.

    Args:
        split: to read from.
        order: numbers of samples by batch.
        start: begin with this batch of the order, from 0.
        device: where the batches are wanted, so that what can be done there is done there; None takes the split's.

    Raises:
        InputError: when an image cannot be read.
        ExitSearchError: when a process that reads ended.
    """
    device, order = torch.device(device or split.device), order[start:]
    for indices, samples in zip(order, _read(split, order, pin=device.type == "cuda"), strict=True):
        images = split.finish(samples.to(device, non_blocking=True))
        yield images, split.labels[indices].to(device, non_blocking=True)


def _read(split: Split, order: Sequence[list[int]], *, pin: bool) -> Iterator[Batch]:
    if not split.workers:
        yield from map(split.read, order)
        return
    for samples in split.workers.read(split, order, pin=pin):
        if isinstance(samples, InputError):
            raise samples
        assert isinstance(samples, Batch)
        yield samples


def in_order(count: int, batch_size: int) -> list[list[int]]:
    """Every sample once, in order, by batch."""
    return [list(range(start, min(start + batch_size, count))) for start in range(0, count, batch_size)]


def shuffled(count: int, batch_size: int, *, seed: int, epoch: int) -> list[list[int]]:
    """Every sample once, in an order given by seed and epoch alone, by batch.

    A last batch of a single sample is left out where there are others: a batch norm cannot learn from one.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    drawn = torch.randperm(count, generator=generator).tolist()
    order = [drawn[start : start + batch_size] for start in range(0, count, batch_size)]
    return order[:-1] if len(order) > 1 and len(order[-1]) == 1 else order
