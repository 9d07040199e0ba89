"""Images from disk, and the preparation of images that are tensors already."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from exitsearch.errors import InputError
from exitsearch.learn.data.splits import Split
from exitsearch.learn.data.transform import ImageTransform, open_image, per_channel
from exitsearch.models.backbone import Backbone

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Prepare:
    """From raw images in 0..1 to a backbone's inputs.

    Attributes:
        input_size: (channels, height, width) of the backbone's input.
        mean: normalisation, one number per channel.
        std: the same.
        crop_pct: share of the resized image's side that the central crop keeps (timm's word).
        interpolation: bilinear; every other one is done bicubic.
    """

    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float = 1.0
    interpolation: str = "bilinear"

    @classmethod
    def for_backbone(cls, backbone: Backbone) -> Prepare:
        """As the backbone's own weights were trained, by timm's `pretrained_cfg`."""
        config: dict[str, Any] = getattr(backbone.module, "pretrained_cfg", None) or {}
        channels = backbone.input_size[0]
        return cls(
            backbone.input_size,
            per_channel(config.get("mean", (0.5,)), channels),
            per_channel(config.get("std", (0.5,)), channels),
            float(config.get("crop_pct") or 1.0),
            str(config.get("interpolation") or "bilinear"),
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Prepare raw images [batch, channels, height, width] in 0..1: [batch, *input_size].

        Raises:
            InputError: when the images' channels can be neither repeated nor averaged into the backbone's.
        """
        channels, height, width = self.input_size
        if images.shape[-2:] != (height, width):
            images = self._resize(images, height, width)
        if images.shape[1] != channels:
            if channels == 1:
                images = images.mean(1, keepdim=True)
            elif images.shape[1] == 1:
                images = images.expand(-1, channels, -1, -1)
            else:
                raise InputError(
                    f"images of {images.shape[1]} channels cannot feed a backbone with {channels}; "
                    "1 channel is repeated, any number is averaged into 1; "
                    "take a backbone of as many channels, or of 1"
                )
        mean, std = (images.new_tensor(numbers)[:, None, None] for numbers in (self.mean, self.std))
        return (images - mean) / std

    def _resize(self, images: Tensor, height: int, width: int) -> Tensor:
        """timm's way: the shorter side to size / crop_pct, then the centre. An oblong input is stretched to fit."""
        high, wide = height, width
        if height == width:
            side = int(height / self.crop_pct)
            shorter = min(images.shape[-2:])
            high, wide = (max(side, round(length * side / shorter)) for length in images.shape[-2:])
        mode = "bilinear" if self.interpolation == "bilinear" else "bicubic"
        images = F.interpolate(images, size=(high, wide), mode=mode, antialias=True)
        top, left = (high - height) // 2, (wide - width) // 2
        return images[..., top : top + height, left : left + width]


class ImageFile(NamedTuple):
    """A file of a data folder: an image, or a recording.

    Attributes:
        name: its path from the data folder.
        size: bytes.
    """

    name: str
    size: int


def image_files(root: Path, below: str, *, extensions: tuple[str, ...] = EXTENSIONS) -> Iterator[ImageFile]:
    """Every image in a folder and the folders in it, in no order.

    Args:
        root: the data folder.
        below: the folder, from there.
        extensions: how their names end, in small letters.
    """
    with os.scandir(root / below) as entries:
        for entry in entries:
            name = f"{below}/{entry.name}"
            if entry.is_dir():
                yield from image_files(root, name, extensions=extensions)
            elif entry.name.lower().endswith(extensions) and entry.is_file():
                yield ImageFile(name, entry.stat().st_size)


class Paths(Sequence[str]):
    """Paths below one folder as one piece of memory.

    A list of a million texts is a million objects. Processes that read would each come to copy all of them, since every
    look at one counts a reference to it.
    """

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._root = str(root)
        self._text = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self._ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return self._text.nbytes + self._ends.nbytes

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """A whole path, or several."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        number = index % len(self)
        start = self._ends[number - 1] if number else 0
        return os.path.join(self._root, os.fsdecode(self._text[start : self._ends[number]].tobytes()))


class ImagesSplit(Split):
    """A split whose images stay on disk.

    Attributes:
        files: paths of the images.
        labels: class indices or targets [samples].
        transform: the backbone's.
    """

    def __init__(self, files: Sequence[str], labels: Tensor, *, transform: ImageTransform) -> None:
        super().__init__(labels)
        self.files, self.transform = files, transform

    def read(self, indices: list[int]) -> Tensor:
        """Images as bytes [batch, channels, height, width].

        Raises:
            InputError: some cannot be decoded; names the first.
        """
        images = torch.empty((len(indices), *self.transform.input_size), dtype=torch.uint8)
        faults: list[InputError] = []
        for place, index in enumerate(indices):
            try:
                images[place] = self.transform(open_image(self.files[index], mode=self.transform.mode))
            except InputError as error:
                faults.append(error)
        if faults:
            raise InputError(
                f"{len(faults)} of the {len(indices)} images of a batch cannot be read, the first is {faults[0]}; put "
                "the original back and run the same command again: what was trained before is kept"
            )
        return images

    def finish(self, images: Tensor) -> Tensor:
        """The bytes as the backbone's inputs, where they are."""
        return self.transform.finish(images)
