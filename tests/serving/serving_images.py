"""Image files for tests."""

from __future__ import annotations

import io

from PIL import Image


def encoded(kind, size=(20, 12), mode="RGB"):
    """An image file's bytes."""
    file = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(file, kind)
    return file.getvalue()
