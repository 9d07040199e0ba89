"""Images from disk as a backbone wants them: size, channels, normalisation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from exitsearch.errors import FileError, InputError
from exitsearch.models.backbone import Backbone
from exitsearch.specs.backbone import Task

# Below this many images, starting worker processes costs more than they save.
_FEW_IMAGES = 512
_MOST_WORKERS = 4

_EXTENSIONS = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp"))


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
            _per_channel(config.get("mean", (0.5,)), channels),
            _per_channel(config.get("std", (0.5,)), channels),
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
                    "1 channel is repeated, any number is averaged into 1"
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


def _per_channel(numbers: Any, channels: int) -> tuple[float, ...]:
    numbers = tuple(float(number) for number in numbers)
    return numbers if len(numbers) == channels else (sum(numbers) / len(numbers),) * channels


def image_files(folder: Path) -> list[Path]:
    """Every image below a folder, in the order of their paths."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _EXTENSIONS and path.is_file())


def read_image(path: Path) -> Tensor:
    """An image as [3, height, width] in 0..1; greys are repeated, transparency is dropped.

    Raises:
        FileError: when it cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I;16"):
                # PIL would clip 16-bit greys at 255 instead of scaling them.
                grey = np.asarray(image, dtype=np.float32) / 65535.0
                return torch.from_numpy(grey)[None].expand(3, -1, -1)
            pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255.0
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise FileError(path, f"not an image that can be decoded: {error}") from None
    return torch.from_numpy(pixels).permute(2, 0, 1)


class ImagesSplit(Dataset[tuple[Tensor, Tensor]]):
    """A split whose images stay on disk.

    Attributes:
        labels: class indices or targets [samples].
        groups: the picture that each image is a tile of [samples] (`tiles.py`); None where all are whole.
        workers: processes that read ahead.
    """

    def __init__(
        self,
        listed: list[tuple[Path, int | float]],
        *,
        prepare: Prepare,
        task: Task,
        groups: Tensor | None = None,
    ) -> None:
        self.groups = groups
        self.files = [str(file) for file, _ in listed]
        dtype = torch.float32 if task == "regression" else torch.int64
        self.labels = torch.tensor([label for _, label in listed], dtype=dtype)
        self.prepare = prepare
        self.workers = min(_MOST_WORKERS, os.cpu_count() or 1) if len(listed) > _FEW_IMAGES else 0

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.prepare(read_image(Path(self.files[index]))[None])[0], self.labels[index]

    def batch(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Images [batch, channels, height, width] and labels [batch].

        Raises:
            FileError: when an image cannot be decoded.
        """
        return torch.stack([self[index][0] for index in indices]), self.labels[indices]
