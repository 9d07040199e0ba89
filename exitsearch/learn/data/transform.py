"""A backbone's own evaluation transform, as timm makes it: from an image to an input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torch import Tensor

from exitsearch.errors import FileError, InputError
from exitsearch.models.backbone import Backbone

# Mode of PIL that has so many channels.
_MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class ImageTransform:
    """timm's evaluation transform of a backbone, in two halves.

    The first half (`__call__`) ends with bytes, of which four take the room of one number: they are what processes hand
    on. The second (`finish`) runs wherever the batch is wanted. Together they give what timm's `create_loader` gives,
    bit for bit.

    Attributes:
        input_size: (channels, height, width) of the backbone's input.
        mean: normalisation, one number per channel.
        std: the same.
        crop_pct: share of the resized image's side that is kept.
        crop_mode: `center`, `squash` or `border`.
        interpolation: of resizing.
    """

    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    crop_mode: str
    interpolation: str

    @classmethod
    def for_backbone(cls, backbone: Backbone) -> ImageTransform:
        """By timm's `resolve_data_config`; a module that is not timm's takes whole images in -1..1.

        Raises:
            InputError: a backbone whose inputs have neither one channel nor three.
        """
        channels = backbone.input_size[0]
        if channels not in _MODES:
            raise InputError(
                f"images have 1 channel or 3, {backbone.facts.name} takes {channels}; give it data of your own as a "
                "torch data set"
            )
        own: dict[str, Any] = getattr(backbone.module, "pretrained_cfg", None) or {}
        asked: dict[str, Any] = {"input_size": backbone.input_size}
        if not own:
            asked |= {"mean": (0.5,), "std": (0.5,), "crop_pct": 1.0, "interpolation": "bilinear"}
        found = resolve_data_config(asked, pretrained_cfg=own)  # type: ignore[no-untyped-call]
        return cls(
            backbone.input_size,
            per_channel(found["mean"], channels),
            per_channel(found["std"], channels),
            float(found["crop_pct"]),
            str(found["crop_mode"]),
            str(found["interpolation"]),
        )

    @property
    def mode(self) -> str:
        """What images are converted to first: `L` (grey) or `RGB`."""
        return _MODES[self.input_size[0]]

    def __call__(self, image: Image.Image) -> Tensor:
        """An image of `mode`, resized and cropped, as bytes [channels, height, width]."""
        found: Tensor = self._first_half(image)
        return found

    @cached_property
    def _first_half(self) -> Callable[[Image.Image], Tensor]:
        made: Callable[[Image.Image], Tensor] = create_transform(
            self.input_size,
            is_training=False,
            interpolation=self.interpolation,
            mean=self.mean,
            std=self.std,
            crop_pct=self.crop_pct,
            crop_mode=self.crop_mode,
            normalize=False,
        )
        return made

    def finish(self, images: Tensor) -> Tensor:
        """Bytes [batch, channels, height, width], wherever they are, as the backbone's inputs there."""
        mean, std = (torch.tensor(numbers, device=images.device).view(1, -1, 1, 1) for numbers in (self.mean, self.std))
        # The operations of ToTensor and Normalize one by one: any other order rounds differently.
        return images.to(torch.float32).div_(255).sub_(mean).div_(std)


def per_channel(numbers: Any, channels: int) -> tuple[float, ...]:
    """One number per channel; where their count differs, the mean of all in each."""
    numbers = tuple(float(number) for number in numbers)
    return numbers if len(numbers) == channels else (sum(numbers) / len(numbers),) * channels


def open_image(source: str | IO[bytes], *, mode: str, name: str | None = None) -> Image.Image:
    """Decode an image.

    Args:
        source: its file.
        mode: of the result: `L` or `RGB`; transparency is dropped.
        name: for messages; None takes `source`.

    Raises:
        FileError: when it cannot be decoded.
    """
    try:
        with Image.open(source) as image:
            if image.mode.startswith("I;16"):
                # PIL would clip 16-bit greys at 255 instead of scaling them.
                scaled = np.asarray(image, dtype=np.float32) / 257
                return Image.fromarray(np.round(scaled).astype(np.uint8)).convert(mode)
            if image.mode == mode:
                image.load()
                return image
            return image.convert(mode)
    except Exception as error:  # decoders raise whatever they like over a broken file
        raise FileError(
            Path(name or str(source)), f"not an image that can be decoded: {error}", remedy="replace it or take it away"
        ) from None
