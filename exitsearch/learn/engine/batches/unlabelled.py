"""Labelled and unlabelled samples as one split, for stages that do not look at labels."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from exitsearch.errors import InputError
from exitsearch.learn.data import Split
from exitsearch.learn.data.images import ImagesSplit, Paths, image_files
from exitsearch.learn.data.transform import ImageTransform
from exitsearch.models.backbone import Backbone
from exitsearch.specs.backbone import Task


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


def unlabelled_images(folder: Path | str, *, backbone: Backbone, task: Task) -> Split:
    """Every image in a folder and the folders in it, prepared for a backbone, without labels.

    Args:
        folder: of images.
        backbone: for which they are prepared.
        task: what labels would be.

    Raises:
        InputError: no such folder, or no image in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(
            f"unlabelled samples come from a folder of images, found no folder {folder}; name one that there is"
        )
    names = sorted(file.name for file in image_files(root, "."))
    if not names:
        raise InputError(
            f"unlabelled samples come from a folder of images, found none in {folder}; "
            "put images in, or name another folder"
        )
    filler = math.nan if task == "regression" else -1
    labels = torch.full((len(names),), filler, dtype=torch.float32 if task == "regression" else torch.int64)
    return ImagesSplit(Paths(root, names), labels, transform=ImageTransform.for_backbone(backbone))
