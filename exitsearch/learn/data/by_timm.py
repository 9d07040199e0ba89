"""Data sets that timm's `create_dataset` knows by name: torchvision's, the Hugging Face hub's, webdataset's, TFDS's.

Their `report` split is the official test split, or the validation split where no test labels are known; the official
training split is divided into `heads` and `choice`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.data.dataset_factory import create_dataset
from torch import Tensor
from torch.utils.data import IterableDataset

from exitsearch.errors import ExitSearchError, InputError, UnavailableError, one_of, shown
from exitsearch.learn.data.asked import Asked
from exitsearch.learn.data.division import divide_training
from exitsearch.learn.data.folder import Listed, of_files
from exitsearch.learn.data.images import ImageFile
from exitsearch.learn.data.splits import DataSplits, HeldSplit, Split, identity_of, labels_tensor
from exitsearch.learn.data.transform import ImageTransform, open_image
from exitsearch.models.backbone import Backbone

# Where torchvision's and webdataset's files are looked for unless told otherwise.
DEFAULT_ROOT = Path("data")
# Beginning of a name to the package that reads such data, and pip's name for it.
_PACKAGES = {
    "torch/": ("torchvision", "torchvision"),
    "hfds/": ("datasets", "datasets"),
    "wds/": ("webdataset", "webdataset"),
    "tfds/": ("tensorflow_datasets", "tensorflow tensorflow-datasets"),
}
PREFIXES = tuple(_PACKAGES)
# What torchvision needs below the root, in words.
_LAYOUTS = {
    "fashion_mnist": "its four files, unpacked (train-images-idx3-ubyte and so on), in {root}/FashionMNIST/raw",
    "mnist": "its four files, unpacked (train-images-idx3-ubyte and so on), in {root}/MNIST/raw",
    "kmnist": "its four files, unpacked (train-images-idx3-ubyte and so on), in {root}/KMNIST/raw",
    "cifar10": "the folder cifar-10-batches-py in {root}",
    "cifar100": "the folder cifar-100-python in {root}",
    "imagenet": "the folders train/<class> and val/<class> and meta.bin in {root}",
    "places365": "what torchvision's Places365 unpacks in {root}",
}
_TEST_SPLITS = ("test", "validation", "val")
# An input of at most so many pixels is made from an image in memory sooner than another process hands it over.
_QUICK_PIXELS = 64 * 64
# A stream is taken into memory, as bytes of inputs; what is larger belongs into a folder.
_MOST_BYTES = 4 * 2**30

Labels = NDArray[np.generic]


class ItemsSplit(Split):
    """A split of a torch data set that can be asked for any of its items.

    Args:
        dataset: gives (image, label) by number; timm's own data sets are read without their leap over broken images.
        numbers: of the items that belong to the split.
        labels: class indices or targets of these [samples].
        transform: the backbone's.
        name: of the data set, for messages.
    """

    def __init__(
        self, dataset: Any, numbers: NDArray[np.int64], labels: Tensor, *, transform: ImageTransform, name: str
    ) -> None:
        super().__init__(labels)
        self.dataset, self.numbers, self.transform, self.name = dataset, numbers, transform, name
        _, height, width = transform.input_size
        self.is_quick = hasattr(dataset, "data") and height * width <= _QUICK_PIXELS

    def read(self, indices: list[int]) -> Tensor:
        """Images as bytes [batch, channels, height, width]."""
        images = torch.empty((len(indices), *self.transform.input_size), dtype=torch.uint8)
        for place, index in enumerate(indices):
            images[place] = self._image(int(self.numbers[index]))
        return images

    def _image(self, number: int) -> Tensor:
        mode, name = self.transform.mode, f"{self.name} (item {number})"
        reader = getattr(self.dataset, "reader", None)
        if reader is not None:
            source, *_ = reader[number]
            with source:
                return self.transform(open_image(source, mode=mode, name=name))
        try:
            image = self.dataset[number][0]
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(
                f"{name}: not an image that can be decoded: {error}; "
                "replace it in the data set, or take the data set as a folder of images"
            ) from None
        return self.transform(image if image.mode == mode else image.convert(mode))

    def finish(self, images: Tensor) -> Tensor:
        """The bytes as the backbone's inputs, where they are."""
        return self.transform.finish(images)


def outputs(asked: Asked) -> int:
    """How many classes a data set has."""
    train = _create(asked, "train")
    if isinstance(train, IterableDataset):
        names = _classes(train)
        if not names:
            raise InputError(f"{asked.name} does not say how many classes it has; say it with --num-outputs")
        return len(names)
    return len(_classes(train)) or int(_labels(train, asked.name).max()) + 1


def load(asked: Asked, backbone: Backbone) -> DataSplits:
    """Its splits.

    Raises:
        InputError: files that are not there, an unknown data set, or one without test and validation labels.
        UnavailableError: the package that reads it is not installed.
    """
    train = _create(asked, "train")
    if isinstance(train, IterableDataset):
        return _of_streams(asked, train, backbone)
    train_labels = _labels(train, asked.name)
    test, test_labels = _test(asked)
    regression = asked.task == "regression"
    heads, choice = divide_training(train_labels, regression=regression)
    parts = {
        "heads": (train, heads, train_labels[heads]),
        "choice": (train, choice, train_labels[choice]),
        "report": (test, np.arange(len(test_labels)), test_labels),
    }
    classes = () if regression else _class_names(train, train_labels)
    if _paths(train) is not None and _paths(test) is not None:
        root = (asked.root or DEFAULT_ROOT).absolute()
        listed = {key: _listed(dataset, numbers, labels, root) for key, (dataset, numbers, labels) in parts.items()}
        return of_files(asked.name, root, listed, asked=asked, backbone=backbone, classes=classes)
    transform = ImageTransform.for_backbone(backbone)
    facts = [(key, len(numbers), _digest(labels)) for key, (_, numbers, labels) in parts.items()]
    splits = {
        key: ItemsSplit(
            dataset, numbers, labels_tensor(labels.tolist(), asked.task), transform=transform, name=asked.name
        )
        for key, (dataset, numbers, labels) in parts.items()
    }
    return DataSplits(
        asked.name,
        identity_of(facts, _contents(train), _contents(test), asked.task, transform),
        asked.task,
        1 if regression else len(classes),
        **splits,
        classes=classes,
    )


def _create(asked: Asked, split: str) -> Any:
    """timm's data set of a split.

    Raises:
        InputError: there is no such data set, or its files are not there.
        UnavailableError: a package is missing.
    """
    prefix, _, rest = asked.name.partition("/")
    prefix = f"{prefix.lower()}/"
    package, install = _PACKAGES[prefix]
    if importlib.util.find_spec(package) is None:
        raise UnavailableError(
            f"data {asked.name} is read by the package {package}, which is not installed; pip install {install}"
        )
    root = asked.root or (DEFAULT_ROOT if prefix in ("torch/", "wds/") else None)
    if prefix == "torch/" and rest.lower() not in _LAYOUTS:
        raise one_of("data set of torch/", rest, _LAYOUTS)
    # Libraries print how far they are, and what to install.
    with contextlib.redirect_stdout(io.StringIO()), _network(asked.download or prefix != "hfds/"):
        try:
            return create_dataset(
                asked.name, root=None if root is None else str(root), split=split, download=asked.download
            )
        except ExitSearchError:
            raise
        except MemoryError:
            raise
        except Exception as error:  # every library has errors of its own
            raise InputError(_not_found(asked, rest, root, error)) from None


def _not_found(asked: Asked, rest: str, root: Path | None, error: Exception) -> str:
    text = f"{type(error).__name__} {error}" if isinstance(error, KeyError) else str(error)
    words = (text.splitlines() or [type(error).__name__])[0].split(". You can use download")[0]
    layout = _LAYOUTS.get(rest.lower(), "").format(root=root)
    needed = f"needs {layout}" if layout else f"cannot be had{'' if root is None else f' from {root}'}"
    return (
        f"{asked.name} {needed} ({words}); put the files there, name their folder with --data-dir, or let them be "
        "fetched with --download"
    )


@contextlib.contextmanager
def _network(allowed: bool) -> Iterator[None]:
    """Keep the Hugging Face libraries off the network, which they would use unasked."""
    if allowed:
        yield
        return
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    # They read the environment once, when they are imported.
    places = [sys.modules.get("datasets.config"), sys.modules.get("huggingface_hub.constants")]
    changed = [(place, name, getattr(place, name)) for place in places for name in names if hasattr(place, name)]
    for place, name, _ in changed:
        setattr(place, name, True)
    try:
        yield
    finally:
        for place, name, value in changed:
            setattr(place, name, value)
        for name, text in before.items():
            os.environ.pop(name) if text is None else os.environ.update({name: text})


def _test(asked: Asked) -> tuple[Any, Labels]:
    """The first official split other than the training one whose labels are known."""
    first: InputError | None = None
    for split in _TEST_SPLITS:
        try:
            found = _create(asked, split)
        except UnavailableError:
            raise
        except InputError as error:
            first = first or error
            continue
        labels = _labels(found, asked.name)
        if asked.task == "regression" or (len(labels) and labels.min() >= 0):
            return found, labels
    raise first or InputError(
        f"{asked.name} has no test or validation split whose labels are known; take it as a folder of images"
    )


def _labels(dataset: Any, name: str) -> Labels:
    """The labels of all items, no image opened."""
    targets = getattr(dataset, "targets", None)
    if targets is None and (reader := getattr(dataset, "reader", None)) is not None:
        targets = reader.dataset[reader.label_key]
    if targets is None:
        raise InputError(f"{name} does not tell its labels without its images; take it as a folder of images")
    labels: Labels = np.asarray(targets)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.number):
        raise InputError(
            f"{name}: one number a sample is needed as its label, found {shown(labels[:1].tolist())}; "
            "take it as a folder of images with labels.csv"
        )
    return labels


def _classes(dataset: Any) -> list[str]:
    """Names of the classes in the order of their indices; none where the data set does not tell."""
    names = getattr(dataset, "classes", None)
    if names is None and (reader := getattr(dataset, "reader", None)) is not None:
        indices = getattr(reader, "class_to_idx", None) or {}
        names = sorted(indices, key=indices.__getitem__)
    return [", ".join(name) if isinstance(name, tuple) else str(name) for name in names or []]


def _class_names(dataset: Any, labels: Labels) -> tuple[str, ...]:
    return tuple(_classes(dataset) or map(str, range(int(labels.max()) + 1)))


def _paths(dataset: Any) -> list[tuple[str, int]] | None:
    """(file, label) of every item where these are files; torchvision has two names for it."""
    found = getattr(dataset, "samples", None) or getattr(dataset, "imgs", None)
    return found if isinstance(found, list) else None


def _listed(dataset: Any, numbers: NDArray[np.int64], labels: Labels, root: Path) -> Listed:
    paths = _paths(dataset)
    assert paths is not None
    files = [os.path.abspath(paths[number][0]) for number in numbers]
    sized = (ImageFile(os.path.relpath(file, root), os.path.getsize(file)) for file in files)
    return list(zip(sized, labels.tolist(), strict=True))


def _digest(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()[:16]


def _contents(dataset: Any) -> str:
    """What stands for the images of a data set: a digest of them where they are in memory, else their library's own."""
    images = getattr(dataset, "data", None)
    if images is not None:
        return _digest(np.asarray(images))
    return str(dataset.reader.dataset._fingerprint)


def _of_streams(asked: Asked, train: Any, backbone: Backbone) -> DataSplits:
    """Splits of a data set that can only be read from its beginning to its end, taken into memory."""
    transform = ImageTransform.for_backbone(backbone)
    images, labels = _gather(train, transform, asked)
    held_images, held_labels = next(
        (found for found in _test_streams(asked, transform) if len(found[1]) and found[1].min() >= 0), (None, None)
    )
    if held_images is None or held_labels is None:
        raise InputError(
            f"{asked.name} has no test or validation split whose labels are known; take it as a folder of images"
        )
    regression = asked.task == "regression"
    heads, choice = divide_training(labels, regression=regression)
    # Where nobody says how many classes there are, the backbone's outputs do, as `--num-outputs` made them.
    count = max(backbone.num_outputs, int(labels.max()) + 1)
    classes = () if regression else tuple(_classes(train) or map(str, range(count)))
    parts = {
        "heads": (images[heads], labels[heads]),
        "choice": (images[choice], labels[choice]),
        "report": (held_images, held_labels),
    }
    facts = [(key, _digest(found.numpy()), _digest(those)) for key, (found, those) in parts.items()]
    splits = {
        key: HeldSplit(found, labels_tensor(those.tolist(), asked.task), finish=transform.finish)
        for key, (found, those) in parts.items()
    }
    outputs = 1 if regression else len(classes)
    return DataSplits(
        asked.name, identity_of(facts, asked.task, transform), asked.task, outputs, **splits, classes=classes
    )


def _test_streams(asked: Asked, transform: ImageTransform) -> Iterator[tuple[Tensor, Labels]]:
    for split in _TEST_SPLITS:
        with contextlib.suppress(InputError):
            yield _gather(_create(asked, split), transform, asked)


def _gather(stream: Any, transform: ImageTransform, asked: Asked) -> tuple[Tensor, Labels]:
    """All images as bytes [samples, channels, height, width] and their labels.

    Raises:
        InputError: they are more than fit, or fewer than the data set says it has.
    """
    images: list[Tensor] = []
    labels: list[float] = []
    expected, held = len(stream), 0
    for image, label in stream:
        images.append(transform(image if image.mode == transform.mode else image.convert(transform.mode)))
        labels.append(label)
        held += images[-1].numel()
        if held > _MOST_BYTES:
            raise InputError(
                f"{asked.name} is a stream and is taken into memory, which is meant for at most "
                f"{_MOST_BYTES // 2**30} GiB of inputs; unpack it into a folder train/<class>/, val/<class>/ instead"
            )
        if asked.progress is not None:
            asked.progress(min(1.0, len(images) / max(1, expected)), f"{len(images):,} images read")
    if not images or len(images) < expected:
        raise InputError(
            f"{asked.name}: {expected - len(images):,} of {expected:,} images cannot be read; mend its files"
        )
    return torch.stack(images), np.asarray(labels)
