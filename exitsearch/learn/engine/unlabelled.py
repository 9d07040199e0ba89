"""Labelled and unlabelled samples as one split, for stages that do not look at labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from exitsearch.learn.data import Split


class JoinedSplit(Split):
    """The samples of one split and behind them those of another.

    The others' labels are -1, or NaN where labels are targets: a loss that looked at them would say so at once.

    Args:
        labelled: numbered from 0.
        unlabelled: numbered after them; its own labels are not looked at.
    """

    def __init__(self, labelled: Split, unlabelled: Split) -> None:
        filler = math.nan if labelled.labels.is_floating_point() else -1
        shape = (len(unlabelled), *labelled.labels.shape[1:])
        super().__init__(torch.cat([labelled.labels, torch.full(shape, filler, dtype=labelled.labels.dtype)]))
        self.labelled, self.unlabelled = labelled, unlabelled
        self.device = labelled.device

    def read(self, indices: list[int]) -> Tensor:
        """Samples prepared for the backbone [batch, ...], each by the split that it is of."""
        count = len(self.labelled)
        found: list[Tensor] = [torch.empty(0)] * len(indices)
        for split, first in ((self.labelled, 0), (self.unlabelled, count)):
            places = [place for place, index in enumerate(indices) if (index >= count) == (first > 0)]
            if not places:
                continue
            read = split.finish(split.read([indices[place] - first for place in places]))
            for place, one in zip(places, read, strict=True):
                found[place] = one
        return torch.stack(found)


def with_unlabelled(labelled: Split, unlabelled: Split | None) -> Split:
    """What stages that do not look at labels train on."""
    return labelled if unlabelled is None else JoinedSplit(labelled, unlabelled)
