"""load_data: a data set by the name that a user gives it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from exitsearch.errors import InputError
from exitsearch.learn.data.folder import data_folder, list_classes, list_targets
from exitsearch.learn.data.images import ImagesSplit, Prepare
from exitsearch.learn.data.splits import SPLITS, DataSplits, TensorsSplit
from exitsearch.learn.digits import digits_splits
from exitsearch.models.backbone import Backbone
from exitsearch.specs.backbone import Task


def data_outputs(name: str, *, task: Task = "classification") -> int:
    """How many outputs a backbone needs for a data set: classes, or 1 for regression. Opens no image.

    Raises:
        InputError: when there is no such data set.
    """
    if task == "regression":
        return 1
    return 10 if name == "digits" else len(list_classes(Path(data_folder(name)))[1])


def load_data(name: str, *, backbone: Backbone, task: Task | None = None) -> DataSplits:
    """A data set's three splits, resized, with channels repeated or averaged, and normalised as the backbone expects.

    Args:
        name: `digits`, or a folder (see the docstring of `exitsearch.learn.data`).
        backbone: whose input size and normalisation are used.
        task: None takes the backbone's.

    Raises:
        InputError: unknown name, a folder without images, classes that differ between its splits, too few images.
        FileError: a broken `labels.csv`.
    """
    task = task or backbone.facts.task
    prepare = Prepare.for_backbone(backbone)
    if name == "digits":
        splits = {
            key: TensorsSplit(
                torch.from_numpy(split.images),
                torch.from_numpy(split.labels).to(torch.float32 if task == "regression" else torch.int64),
                prepare=prepare,
            )
            for key, split in digits_splits().items()
        }
        classes = tuple(map(str, range(10))) if task == "classification" else ()
        outputs = 1 if task == "regression" else 10
        return DataSplits(name, _hash(name, task, prepare), task, outputs, **splits, classes=classes)
    folder = data_folder(name)
    listed, classes = list_targets(folder) if task == "regression" else list_classes(folder)
    for key in SPLITS:
        if not listed[key]:
            total = sum(map(len, listed.values()))
            raise InputError(
                f"{folder}: every split needs an image, the {key} split has none ({total} in all); add more"
            )
    parts = {key: ImagesSplit(listed[key], prepare=prepare, task=task) for key in SPLITS}
    # Sizes stand in for contents: reading every image of a large folder once only to name it would take minutes.
    files = [
        (key, str(file.relative_to(folder)), file.stat().st_size, label)
        for key in SPLITS
        for file, label in listed[key]
    ]
    outputs = 1 if task == "regression" else len(classes)
    return DataSplits(str(folder), _hash(files, task, prepare), task, outputs, **parts, classes=classes)


def _hash(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
