"""Folders of images or recordings: their files with class indices or targets, by split."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from exitsearch.errors import FileError, InputError
from exitsearch.learn.data.images import image_files
from exitsearch.learn.data.tiles import Groups, pictures, torn_picture
from exitsearch.specs.document import read_text
from exitsearch.specs.table import cell_number, read_table

LABELS_FILE = "labels.csv"

# Shares of `heads` and `choice` where one heap of images has to be split; the rest is `report`.
_SHARES = (0.6, 0.2)
_SEED = 0

Listed = list[tuple[Path, int | float]]
Lister = Callable[[Path], list[Path]]


def data_folder(name: str) -> Path:
    """The folder that a data set's name says.

    Raises:
        InputError: there is none.
    """
    folder = Path(name)
    if not os.path.isdir(folder):  # where its name is too long there is none either
        raise InputError(
            f"data is `digits` or a folder of images (train/<class>/..., val/<class>/...); no folder {name!r}"
        )
    return folder


def list_classes(
    folder: Path, *, files: Lister = image_files, kind: str = "images", example: str = "*.png"
) -> tuple[dict[str, Listed], tuple[str, ...]]:
    """Files with class indices by split, and the class names.

    Args:
        folder: the data set.
        files: lists those of a class's folder.
        kind: of the files, for messages.
        example: of their names, for messages.

    Raises:
        InputError: no files, one class alone, or a class that `train` does not have.
    """
    train = folder / "train"
    root = train if train.is_dir() else folder
    classes = tuple(sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")))
    of_train = _list_split(root, classes, files)
    if not of_train:
        raise InputError(
            f"{folder}: no {kind} found; a data folder holds train/<class>/{example} and val/<class>/{example}, or one "
            f"folder a class (for regression {LABELS_FILE} and --task regression)"
        )
    if len(classes) < 2:
        raise InputError(f"{root}: two classes at least are needed, found one folder ({classes[0]})")
    of_val, of_test = (_list_split(folder / name, classes, files) if root is train else [] for name in ("val", "test"))
    return _assign(of_train, of_val, of_test), classes


def _list_split(root: Path, classes: tuple[str, ...], files: Lister) -> Listed:
    if not root.is_dir():
        return []
    found = {path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")}
    if strange := sorted(found - set(classes)):
        raise InputError(f"{root}: the class {strange[0]!r} is not among those of train/ ({', '.join(classes)})")
    return [(file, index) for index, name in enumerate(classes) for file in files(root / name)]


def list_targets(folder: Path) -> tuple[dict[str, Listed], Groups]:
    """Files with regression targets by split, and the pictures that files are tiles of (`tiles.py`).

    Raises:
        FileError: a broken `labels.csv`, files that are missing, or a picture with tiles in two splits.
    """
    path = folder / LABELS_FILE
    rows: Listed = []
    groups: Groups = {}
    for line, row in read_table(read_text(path), path, ("file", "target")):
        file = folder / row["file"]
        if not file.is_file():
            raise FileError(path, f"row {line}: no such image {row['file']!r} beside it")
        rows.append((file, cell_number(row, "target", path, line)))
        if row.get("group"):
            groups[file] = row["group"]
    first = {name: [r for r in rows if r[0].relative_to(folder).parts[0] == name] for name in ("train", "val", "test")}
    if sum(map(len, first.values())) < len(rows):
        return _assign(rows, [], [], groups), groups
    if torn := torn_picture([[file for file, _ in part] for part in first.values()], groups):
        raise FileError(
            path,
            f"the tiles of a picture belong into one split, those of {torn!r} are in two of train/, val/ and test/",
        )
    return _assign(first["train"], first["val"], first["test"], groups), groups


def _assign(train: Listed, val: Listed, test: Listed, groups: Groups | None = None) -> dict[str, Listed]:
    """Give each split its files: what is missing is taken from what there is, by a fixed permutation."""
    if val and test:
        return {"heads": train, "choice": val, "report": test}
    if val:
        choice, report = _cut(val, [0.5], groups)
        return {"heads": train, "choice": choice, "report": report}
    if test:
        heads, choice = _cut(train, [_SHARES[0] / sum(_SHARES)], groups)
        return {"heads": heads, "choice": choice, "report": test}
    heads, choice, report = _cut(train, [_SHARES[0], sum(_SHARES)], groups)
    return {"heads": heads, "choice": choice, "report": report}


def _cut(rows: Listed, edges: Sequence[float], groups: Groups | None = None) -> list[Listed]:
    """Cut rows at shares of them, by a fixed permutation; the tiles of a picture stay together."""
    whole = pictures([file for file, _ in rows], groups or {})
    drawn = torch.randperm(len(whole), generator=torch.Generator().manual_seed(_SEED)).tolist()
    bounds = [0, *(round(edge * len(whole)) for edge in edges), len(whole)]
    parts = [
        [place for number in drawn[low:high] for place in whole[number]] for low, high in itertools.pairwise(bounds)
    ]
    # Sorted again, so that neighbours on disk are read together.
    return [[rows[place] for place in sorted(part)] for part in parts]
