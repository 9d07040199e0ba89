"""How a bundle says what its model's images go through: timm's evaluation transform in numbers."""

from __future__ import annotations

import math
from typing import Any, cast

from exitsearch.errors import InputError
from exitsearch.learn.data.transform import ImageTransform
from exitsearch.models.backbone import Backbone
from exitsearch.specs.bundle import Preprocessing


def preprocessing_of(backbone: Backbone) -> Preprocessing | None:
    """What images go through before the backbone; None where its inputs are not images (neither 1 channel nor 3)."""
    try:
        transform = ImageTransform.for_backbone(backbone)
    except InputError:
        return None
    height, width = transform.input_size[1:]
    return Preprocessing(
        mode=cast(Any, transform.mode),
        # As timm's transforms_imagenet_eval rounds it.
        resize=(math.floor(height / transform.crop_pct), math.floor(width / transform.crop_pct)),
        interpolation=transform.interpolation,
        crop_pct=transform.crop_pct,
        crop_mode=cast(Any, transform.crop_mode),
        mean=list(transform.mean),
        std=list(transform.std),
    )
