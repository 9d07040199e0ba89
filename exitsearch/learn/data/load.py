"""load_data: a data set by the name that a user gives it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from exitsearch.errors import InputError
from exitsearch.learn.data.audio import LogMel, RecordingsSplit, clip_seconds, recording_files
from exitsearch.learn.data.folder import Listed, data_folder, list_classes, list_targets
from exitsearch.learn.data.images import ImagesSplit, Prepare
from exitsearch.learn.data.splits import SPLITS, DataSplits, TensorsSplit
from exitsearch.learn.data.tiles import Groups, picture_numbers
from exitsearch.learn.digits import digits_splits
from exitsearch.models.backbone import Backbone
from exitsearch.specs.backbone import Task

# What stands before the folder of a data set of recordings.
AUDIO = "audio-folder:"


def data_outputs(name: str, *, task: Task = "classification") -> int:
    """How many outputs a backbone needs for a data set: classes, or 1 for regression. Opens no image.

    Raises:
        InputError: when there is no such data set.
    """
    if task == "regression":
        return 1
    if name.startswith(AUDIO):
        return len(_list_recordings(name)[2])
    return 10 if name == "digits" else len(list_classes(Path(data_folder(name)))[1])


def load_data(name: str, *, backbone: Backbone, task: Task | None = None) -> DataSplits:
    """A data set's three splits, resized, with channels repeated or averaged, and normalised as the backbone expects.

    Args:
        name: `digits`, a folder, or `audio-folder:` and a folder (see the docstring of `exitsearch.learn.data`).
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
    if name.startswith(AUDIO):
        return _load_recordings(name, task=task, prepare=prepare)
    folder = data_folder(name)
    groups: Groups = {}
    classes = ()
    if task == "regression":
        listed, groups = list_targets(folder)
    else:
        listed, classes = list_classes(folder)
    _check_filled(listed, folder, "an image")
    tiles = {key: picture_numbers([file for file, _ in listed[key]], groups) for key in SPLITS}
    parts = {key: ImagesSplit(listed[key], prepare=prepare, task=task, groups=tiles[key]) for key in SPLITS}
    facts: list[object] = [_named(listed, folder), task, prepare]
    if groups:
        facts.append([numbers.tolist() for numbers in tiles.values() if numbers is not None])
    outputs = 1 if task == "regression" else len(classes)
    return DataSplits(str(folder), _hash(*facts), task, outputs, **parts, classes=classes)


def _load_recordings(name: str, *, task: Task, prepare: Prepare) -> DataSplits:
    if task == "regression":
        raise InputError(f"{name}: recordings are told apart by classes, one folder each; leave --metric mae out")
    folder, listed, classes = _list_recordings(name)
    _check_filled(listed, folder, "a recording")
    _, height, width = prepare.input_size
    seconds = clip_seconds([file for file, _ in listed["heads"]])
    log_mel = LogMel.for_seconds(seconds, bands=height, frames=width)
    parts = {key: RecordingsSplit(listed[key], log_mel=log_mel, prepare=prepare) for key in SPLITS}
    identity = _hash(_named(listed, folder), task, prepare, log_mel)
    return DataSplits(f"{AUDIO}{folder}", identity, task, len(classes), **parts, classes=classes)


def _list_recordings(name: str) -> tuple[Path, dict[str, Listed], tuple[str, ...]]:
    """The folder, its recordings with class indices by split, and the class names."""
    folder = data_folder(name.removeprefix(AUDIO))
    listed, classes = list_classes(folder, files=recording_files, kind="recordings", example="*.wav")
    return folder, listed, classes


def _check_filled(listed: dict[str, Listed], folder: Path, what: str) -> None:
    for key in SPLITS:
        if not listed[key]:
            total = sum(map(len, listed.values()))
            raise InputError(f"{folder}: every split needs {what}, the {key} split has none ({total} in all); add more")


def _named(listed: dict[str, Listed], folder: Path) -> list[tuple[str, str, int, int | float]]:
    """Split, file, size and label of every sample.

    Sizes stand in for contents: reading every file of a large folder once only to name it would take minutes.
    """
    return [
        (key, str(file.relative_to(folder)), file.stat().st_size, label)
        for key in SPLITS
        for file, label in listed[key]
    ]


def _hash(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
