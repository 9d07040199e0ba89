"""Folders of images or recordings: their files with class indices or targets, by split."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from timm.utils.misc import natural_key

from exitsearch.errors import FileError, InputError
from exitsearch.learn.data.asked import Asked
from exitsearch.learn.data.images import EXTENSIONS, ImageFile, ImagesSplit, Paths, image_files
from exitsearch.learn.data.scan import check_images
from exitsearch.learn.data.splits import SPLITS, DataSplits, labels_tensor
from exitsearch.learn.data.tiles import Groups, picture_numbers, pictures, torn_picture
from exitsearch.learn.data.transform import ImageTransform
from exitsearch.models.backbone import Backbone
from exitsearch.specs.document import read_text
from exitsearch.specs.table import cell_number, read_table

LABELS_FILE = "labels.csv"

# Shares of `heads` and `choice` where one heap of images has to be split; the rest is `report`.
_SHARES = (0.6, 0.2)
_SEED = 0

Listed = list[tuple[ImageFile, int | float]]


@dataclass(frozen=True)
class Kind:
    """What a folder holds.

    Attributes:
        word: for a file in it.
        one: the word with an article.
        many: the word for several.
        extensions: how their names end, in small letters.
    """

    word: str
    one: str
    many: str
    extensions: tuple[str, ...]


IMAGES = Kind("image", "an image", "images", EXTENSIONS)


def data_folder(name: str, kind: Kind = IMAGES) -> Path:
    """The folder that a data set's name says.

    Raises:
        InputError: there is none.
    """
    folder = Path(name)
    if not name or not os.path.isdir(folder):  # where its name is too long there is none either
        if kind is not IMAGES:
            end = kind.extensions[0]
            raise InputError(
                f"data of {kind.many} is a folder with train/<class>/*{end} and val/<class>/*{end}, or one folder a "
                f"class, found no folder {name!r}; name one that there is (--data)"
            )
        raise InputError(
            "data is `digits` or a folder of images (train/<class>/..., val/<class>/...), or as torch/fashion_mnist a "
            f"data set that timm knows; found no folder {name!r}; name one that there is (--data)"
        )
    return folder


def list_classes(folder: Path, kind: Kind = IMAGES) -> tuple[dict[str, Listed], tuple[str, ...]]:
    """Files with class indices by split, and the class names in timm's order (`class2` before `class10`).

    Raises:
        InputError: no files, a class without any or alone, or one that `train` does not have.
    """
    train = folder / "train"
    root = train if train.is_dir() else folder
    classes = tuple(sorted(_folders(root), key=_natural))
    found = {name: _listed(folder, root / name, index, kind) for index, name in enumerate(classes)}
    of_train = [row for rows in found.values() for row in rows]
    if not of_train:
        raise InputError(
            f"{folder}: a data folder holds train/<class>/*{kind.extensions[0]} and val/<class>/*{kind.extensions[0]}, "
            f"or one folder a class (for regression {LABELS_FILE} and --metric mae), found no {kind.many}; put them "
            "there, "
            "or name another folder (--data)"
        )
    if empty := [name for name, rows in found.items() if not rows]:
        raise InputError(
            f"{root}: {len(empty):,} of {len(classes):,} class folders hold no {kind.word}, the first is "
            f"{empty[0]!r}; put {kind.many} in or remove the folder"
        )
    if len(classes) < 2:
        raise InputError(
            f"{root}: two classes at least are needed, found one folder ({classes[0]}); "
            "put each class into a folder of its own"
        )
    of_val, of_test = (_list_split(folder, name, classes, kind) if root is train else [] for name in ("val", "test"))
    return _assign(of_train, of_val, of_test), classes


def _folders(root: Path) -> set[str]:
    with os.scandir(root) as entries:
        return {entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")}


def _natural(name: str) -> tuple[list[int | str], str]:
    """timm's order of names, and the plain one where that makes no difference."""
    return natural_key(name), name  # type: ignore[no-untyped-call]


def _listed(folder: Path, root: Path, label: int, kind: Kind) -> Listed:
    found = image_files(folder, str(root.relative_to(folder)), extensions=kind.extensions)
    files = sorted(found, key=lambda file: _natural(file.name))
    return [(file, label) for file in files]


def _list_split(folder: Path, split: str, classes: tuple[str, ...], kind: Kind) -> Listed:
    root = folder / split
    if not root.is_dir():
        return []
    found = _folders(root)
    if strange := sorted(found - set(classes)):
        raise InputError(
            f"{root}: the class {strange[0]!r} is not among those of train/ ({_few(classes)}); "
            "put such a folder into train/ too, or take it out of here"
        )
    listed = (_listed(folder, root / name, index, kind) for index, name in enumerate(classes) if name in found)
    return [row for rows in listed for row in rows]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")


def list_targets(folder: Path) -> tuple[dict[str, Listed], Groups]:
    """Files with regression targets by split, and the pictures that files are tiles of.

    Raises:
        FileError: a broken `labels.csv`, files that are missing, or a picture with tiles in two splits.
    """
    path = folder / LABELS_FILE
    rows: Listed = []
    groups: Groups = {}
    faults: list[FileError] = []
    table = read_table(read_text(path), path, ("file", "target"))
    for line, row in table:
        try:
            rows.append((_file(folder, row["file"], path, line), cell_number(row, "target", path, line)))
            if row.get("group"):
                groups[row["file"]] = row["group"]
        except FileError as error:
            faults.append(error)
    if faults:
        more = f" ({len(faults):,} of {len(table):,} rows are wrong, this is the first)" if len(faults) > 1 else ""
        raise FileError(path, faults[0].problem + more, remedy=faults[0].remedy)
    first = {name: [r for r in rows if Path(r[0].name).parts[0] == name] for name in ("train", "val", "test")}
    if sum(map(len, first.values())) < len(rows):
        return _assign(rows, [], [], groups), groups
    if torn := torn_picture([[file.name for file, _ in part] for part in first.values()], groups):
        raise FileError(
            path,
            f"the tiles of a picture belong into one split, those of {torn!r} are in two of train/, val/ and test/",
            remedy="move them into one",
        )
    return _assign(first["train"], first["val"], first["test"], groups), groups


def _file(folder: Path, name: str, path: Path, line: int) -> ImageFile:
    file = folder / name
    if not file.is_file():
        raise FileError(
            path, f"row {line}: no such image {name!r} beside it", remedy="put it there, or take the row out"
        )
    return ImageFile(name, file.stat().st_size)


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
    whole = pictures([file.name for file, _ in rows], groups or {})
    drawn = torch.randperm(len(whole), generator=torch.Generator().manual_seed(_SEED)).tolist()
    bounds = [0, *(round(edge * len(whole)) for edge in edges), len(whole)]
    parts = [
        [place for number in drawn[low:high] for place in whole[number]] for low, high in itertools.pairwise(bounds)
    ]
    # Sorted again, so that neighbours on disk are read together.
    return [[rows[place] for place in sorted(part)] for part in parts]


def outputs(asked: Asked) -> int:
    """How many classes a folder holds. Opens no image."""
    return len(list_classes(data_folder(asked.name))[1])


def load(asked: Asked, backbone: Backbone) -> DataSplits:
    """A folder's splits; every file was looked at.

    Raises:
        InputError: no folder, no images in it or in a split, classes that differ, images that cannot be read.
        FileError: a broken `labels.csv`.
    """
    folder = data_folder(asked.name)
    if asked.task == "regression":
        listed, groups = list_targets(folder)
        return of_files(str(folder), folder, listed, asked=asked, backbone=backbone, classes=(), groups=groups)
    listed, classes = list_classes(folder)
    return of_files(str(folder), folder, listed, asked=asked, backbone=backbone, classes=classes)


def of_files(
    name: str,
    root: Path,
    listed: dict[str, Listed],
    *,
    asked: Asked,
    backbone: Backbone,
    classes: tuple[str, ...],
    groups: Groups | None = None,
) -> DataSplits:
    """Splits of files that stand below one folder.

    Args:
        name: of the data set.
        root: the folder.
        listed: files and labels by split.
        asked: says task and progress.
        backbone: for which they are prepared.
        classes: names of the classes.
        groups: the pictures that files are tiles of, if any are.

    Raises:
        InputError: a split without images, or images that cannot be read.
    """
    transform = ImageTransform.for_backbone(backbone)
    identity = check_listed(name, listed, asked.task, transform, groups=groups)
    files = {key: Paths(root, (file.name for file, _ in listed[key])) for key in SPLITS}
    check_images([path for key in SPLITS for path in files[key]], progress=asked.progress)
    parts = {
        key: ImagesSplit(
            files[key], labels_tensor([label for _, label in listed[key]], asked.task), transform=transform
        )
        for key in SPLITS
    }
    for key, part in parts.items():
        part.groups = picture_numbers([file.name for file, _ in listed[key]], groups or {})
    outputs = 1 if asked.task == "regression" else len(classes)
    return DataSplits(name, identity, asked.task, outputs, **parts, classes=classes)


def check_listed(
    name: str, listed: dict[str, Listed], *prepared: object, groups: Groups | None = None, kind: Kind = IMAGES
) -> str:
    """The identity of files, labels and pictures by split, and of how they are prepared.

    Raises:
        InputError: a split without files.
    """
    for key in SPLITS:
        if not listed[key]:
            total = sum(map(len, listed.values()))
            raise InputError(
                f"{name}: every split needs {kind.one}, the {key} split has none ({total} in all); add more"
            )
    # Sizes stand in for contents: reading every file of a large folder once only to name it would take minutes.
    digest = hashlib.sha256(repr(prepared).encode())
    for key in SPLITS:
        for file, label in listed[key]:
            fact = (key, file.name, file.size, label)
            digest.update(repr((*fact, groups[file.name]) if groups and file.name in groups else fact).encode())
    return digest.hexdigest()[:16]
