"""load_data: a data set by the name that a user gives it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from exitsearch.learn.data.asked import Asked
from exitsearch.learn.data.sources import find_source
from exitsearch.learn.data.splits import SPLITS, DataSplits
from exitsearch.learn.data.workers import default_workers
from exitsearch.models.backbone import Backbone
from exitsearch.specs.backbone import Task


def data_outputs(
    name: str, *, task: Task = "classification", root: Path | str | None = None, download: bool = False
) -> int:
    """How many outputs a backbone needs for a data set: classes, or 1 for regression. Opens no image of a folder.

    Args:
        name: as in `load_data`, and so are the others.
        task: what the labels are.
        root: where data sets that have a name are kept.
        download: fetch what is missing.

    Raises:
        InputError: when there is no such data set.
    """
    if task == "regression":
        return 1
    source, rest = find_source(name)
    return source.outputs(Asked(rest, task, Path(root) if root else None, download))


def load_data(
    name: str,
    *,
    backbone: Backbone,
    task: Task | None = None,
    root: Path | str | None = None,
    download: bool = False,
    workers: int | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[float, str], None] | None = None,
) -> DataSplits:
    """A data set's three splits, prepared as the backbone expects its inputs.

    Args:
        name: `digits`, a folder, or a data set that timm knows (see the docstring of `exitsearch.learn.data`).
        backbone: whose input size and normalisation are used.
        task: None takes the backbone's.
        root: the folder in which data sets that have a name are kept; None takes `data`, or what their library takes.
        download: fetch what is missing there.
        workers: processes that read images, from 0 (none but this one); None takes one a core, at most eight, and none
            for a few images or small ones that are held in memory.
        device: where the batches are wanted.
        progress: called with the share that is done and words while the files are looked at.

    Raises:
        InputError: unknown name, a folder without images, classes that differ between its splits, too few images,
            images that cannot be read.
        FileError: a broken `labels.csv`.
        UnavailableError: a package is missing that reads such data.
    """
    source, rest = find_source(name)
    asked = Asked(rest, task or backbone.facts.task, Path(root) if root else None, download, progress)
    data = source.load(asked, backbone)
    if workers is None:
        held = all(data.split(key).is_quick for key in SPLITS)
        workers = 0 if held else default_workers(sum(len(data.split(key)) for key in SPLITS))
    data.read_by(workers, device=device)
    return data
