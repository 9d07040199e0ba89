"""Batches of a split, in an order that seed and epoch give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from exitsearch.errors import InputError
from exitsearch.learn.data.splits import Split


class _Batches(Dataset[object]):
    """A split read by lists of indices, a whole batch at once."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __getitem__(self, indices: list[int]) -> object:
        try:
            return self.split.batch(indices)
        except InputError as error:
            # Handed on as a value: raised in a worker process it would arrive as a traceback.
            return InputError(str(error))


def batches(split: Split, *, order: Sequence[list[int]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (images [batch, channels, height, width], labels [batch]) of the samples that `order` lists by batch.

    Raises:
        InputError: when an image cannot be read.
    """
    loader = DataLoader(
        _Batches(split),
        sampler=order,
        batch_size=None,
        num_workers=split.workers,
        # The loader draws a number for its workers; from a generator of its own it leaves the global one alone.
        generator=torch.Generator().manual_seed(0),
    )
    for batch in loader:
        if isinstance(batch, InputError):
            raise batch
        yield batch


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
