"""The three splits that heads are trained on (`heads`), chosen on (`choice`) and judged on (`report`).

`load_data` takes `digits`, or a folder of images in one of these forms:

    DIR/train/<class>/*.png, DIR/val/<class>/*.png, optionally DIR/test/<class>/*.png
    DIR/<class>/*.png                       split 60/20/20 by a fixed permutation
    DIR/labels.csv with `file,target`       regression; files under train/, val/, test/, or else split 60/20/20

Without `test`, `val` is halved into `choice` and `report`. Nothing is downloaded. Images stay on disk until a batch
asks for them, so memory does not grow with the folder.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from exitsearch.errors import FileError, InputError, UnsupportedError
from exitsearch.learn.digits import digits_splits
from exitsearch.learn.images import ImagesSplit, Prepare, image_files
from exitsearch.models.backbone import Backbone
from exitsearch.specs.backbone import Task
from exitsearch.specs.document import read_text
from exitsearch.specs.table import cell_number, read_table

SPLITS = ("heads", "choice", "report")
LABELS_FILE = "labels.csv"

# Shares of `heads` and `choice` where one heap of images has to be split; the rest is `report`.
_SHARES = (0.6, 0.2)
_SEED = 0

Listed = list[tuple[Path, int | float]]


class TensorsSplit(Dataset[tuple[Tensor, Tensor]]):
    """A split held in memory as raw images, prepared for the backbone when asked for; an ordinary torch data set.

    Attributes:
        labels: class indices or targets [samples].
    """

    workers = 0

    def __init__(self, images: Tensor, labels: Tensor, *, prepare: Prepare) -> None:
        self.images, self.labels, self.prepare = images, labels, prepare

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.prepare(self.images[index : index + 1])[0], self.labels[index]

    def batch(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Images [batch, channels, height, width] and labels [batch]."""
        return self.prepare(self.images[indices]), self.labels[indices]


Split = TensorsSplit | ImagesSplit


@dataclass(frozen=True)
class DataSplits:
    """A data set in three disjoint splits, prepared for one backbone.

    Attributes:
        name: what the user called it.
        identity: changes when the files, the labels or the preparation change.
        task: classification or regression.
        num_outputs: classes, or regression targets.
        heads: the training split.
        choice: what a search chooses on.
        report: what the choice is judged on; takes no part in any decision.
        classes: class names in the order of their indices; empty for regression.
    """

    name: str
    identity: str
    task: Task
    num_outputs: int
    heads: Split
    choice: Split
    report: Split
    classes: tuple[str, ...] = ()

    def split(self, name: str) -> Split:
        """A split by its name."""
        assert name in SPLITS
        found: Split = getattr(self, name)
        return found


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


def data_outputs(name: str, *, task: Task = "classification") -> int:
    """How many outputs a backbone needs for a data set: classes, or 1 for regression. Opens no image.

    Raises:
        InputError: when there is no such data set.
    """
    if task == "regression":
        return 1
    return 10 if name == "digits" else len(_list_classes(Path(_folder(name)))[1])


def load_data(name: str, *, backbone: Backbone, task: Task | None = None) -> DataSplits:
    """A data set's three splits, resized, with channels repeated or averaged, and normalised as the backbone expects.

    Args:
        name: `digits`, or a folder (see the module's docstring).
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
    folder = _folder(name)
    listed, classes = _list_targets(folder) if task == "regression" else _list_classes(folder)
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


def _folder(name: str) -> Path:
    folder = Path(name)
    if not os.path.isdir(folder):  # where its name is too long there is none either
        raise InputError(
            f"data is `digits` or a folder of images (train/<class>/..., val/<class>/...); no folder {name!r}"
        )
    return folder


def _list_classes(folder: Path) -> tuple[dict[str, Listed], tuple[str, ...]]:
    """Files with class indices by split, and the class names."""
    train = folder / "train"
    root = train if train.is_dir() else folder
    classes = tuple(sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")))
    of_train = _list_split(root, classes)
    if not of_train:
        raise InputError(
            f"{folder}: no images found; a data folder holds train/<class>/*.png and val/<class>/*.png, or one folder "
            f"a class (for regression {LABELS_FILE} and --task regression)"
        )
    if len(classes) < 2:
        raise InputError(f"{root}: two classes at least are needed, found one folder ({classes[0]})")
    of_val, of_test = (_list_split(folder / name, classes) if root is train else [] for name in ("val", "test"))
    return _assign(of_train, of_val, of_test), classes


def _list_split(root: Path, classes: tuple[str, ...]) -> Listed:
    if not root.is_dir():
        return []
    found = {path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")}
    if strange := sorted(found - set(classes)):
        raise InputError(f"{root}: the class {strange[0]!r} is not among those of train/ ({', '.join(classes)})")
    return [(file, index) for index, name in enumerate(classes) for file in image_files(root / name)]


def _list_targets(folder: Path) -> tuple[dict[str, Listed], tuple[str, ...]]:
    """Files with regression targets by split; no class names."""
    path = folder / LABELS_FILE
    rows: Listed = []
    for line, row in read_table(read_text(path), path, ("file", "target")):
        file = folder / row["file"]
        if not file.is_file():
            raise FileError(path, f"row {line}: no such image {row['file']!r} beside it")
        rows.append((file, cell_number(row, "target", path, line)))
    first = {name: [r for r in rows if r[0].relative_to(folder).parts[0] == name] for name in ("train", "val", "test")}
    if sum(map(len, first.values())) < len(rows):
        return _assign(rows, [], []), ()
    return _assign(first["train"], first["val"], first["test"]), ()


def _assign(train: Listed, val: Listed, test: Listed) -> dict[str, Listed]:
    """Give each split its files: what is missing is taken from what there is, by a fixed permutation."""
    if val and test:
        return {"heads": train, "choice": val, "report": test}
    if val:
        choice, report = _cut(val, [0.5])
        return {"heads": train, "choice": choice, "report": report}
    if test:
        heads, choice = _cut(train, [_SHARES[0] / sum(_SHARES)])
        return {"heads": heads, "choice": choice, "report": test}
    heads, choice, report = _cut(train, [_SHARES[0], sum(_SHARES)])
    return {"heads": heads, "choice": choice, "report": report}


def _cut(rows: Listed, edges: Sequence[float]) -> list[Listed]:
    drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(_SEED)).tolist()
    bounds = [0, *(round(edge * len(rows)) for edge in edges), len(rows)]
    # Sorted again, so that neighbours on disk are read together.
    return [[rows[i] for i in sorted(drawn[low:high])] for low, high in itertools.pairwise(bounds)]


def check_data(backbone: Backbone, data: DataSplits) -> None:
    """Refuse a backbone and data that do not belong together.

    Raises:
        UnsupportedError: when task or outputs differ.
    """
    facts = backbone.facts
    if facts.task != data.task or facts.num_outputs != data.num_outputs:
        raise UnsupportedError(
            f"the data {data.name} needs {data.num_outputs} outputs ({data.task}), the backbone {facts.name} has "
            f"{facts.num_outputs} ({facts.task}); make it with --num-outputs {data.num_outputs} and the same task"
        )
