"""From an image to an input, as the model was trained: timm's evaluation transform in Pillow and numpy.

torchvision resizes images of Pillow by Pillow itself, so the same calls give the same bytes. What a file may be is
bounded before it is decoded.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bundle.manifest import Preprocessing
from .errors import MissingError, RequestError, shown

Floats = NDArray[np.float32]

# Formats that are read. Others of Pillow's call programs (EPS) or are rarely looked after.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
# A photograph of today has 12 to 50 million pixels.
MOST_PIXELS = 64_000_000
_ROUND = np.float32(255)


def load_pillow() -> ModuleType:
    """Pillow's module of images.

    Raises:
        MissingError: it is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingError(
            f"images are read with Pillow, which is not installed here ({error}); pip install pillow, or give inputs "
            "as arrays [channels, height, width] that are prepared already"
        ) from None
    return Image


def prepare_image(
    source: Any, preprocessing: Preprocessing, *, size: tuple[int, int, int], most_pixels: int = MOST_PIXELS
) -> Floats:
    """An image as an input [channels, height, width].

    Args:
        source: a path, a file opened for bytes, an image of Pillow, or an array of pixels [height, width] or
            [height, width, channels] of unsigned whole numbers of 8 bits (16 bits: greys).
        preprocessing: of the bundle.
        size: (channels, height, width) of the input.
        most_pixels: that an image may have before it is resized.

    Raises:
        RequestError: it cannot be decoded, or is too large.
        MissingError: Pillow is not there.
    """
    library = load_pillow()
    image = _open(library, source, preprocessing.mode, most_pixels)
    image = _resize(library, image, preprocessing, most_pixels)
    fill = tuple(round(255 * mean) for mean in preprocessing.mean) if preprocessing.crop_mode == "border" else None
    image = _centre(library, image, size[1:], fill)
    pixels = np.array(image, dtype=np.float32)  # [height, width] or [height, width, channels]
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    mean, std = (np.array(n, dtype=np.float32)[:, None, None] for n in (preprocessing.mean, preprocessing.std))
    # In this order, one by one, as training does: any other rounds differently.
    prepared = np.ascontiguousarray(((pixels / _ROUND) - mean) / std, dtype=np.float32)
    assert prepared.shape == size
    return prepared


def is_image(source: object) -> bool:
    """Whether something is to be taken for an image rather than for an input."""
    if isinstance(source, np.ndarray):
        return source.dtype in (np.uint8, np.uint16)
    return isinstance(source, str | Path) or hasattr(source, "read") or hasattr(source, "convert")


def _open(library: ModuleType, source: Any, mode: str, most_pixels: int) -> Any:
    """An image of Pillow in a mode, transparency dropped."""
    if isinstance(source, np.ndarray):
        return _converted(library, _of_array(library, source, most_pixels), mode)
    if isinstance(source, library.Image):
        _check_pixels(source.size, most_pixels)
        return _converted(library, source, mode)
    name = str(source)[:200] if isinstance(source, str | Path) else "the image"
    if isinstance(source, str | Path) and not Path(source).is_file():
        raise RequestError(f"an image is a file that can be read, found none at {name}; give the path of one")
    try:
        with library.open(source, formats=FORMATS) as image:
            _check_pixels(image.size, most_pixels)
            return _converted(library, image, mode)
    except RequestError:
        raise
    except Exception as error:  # decoders raise whatever they like over a broken file
        cause = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise RequestError(
            f"{name} is not an image that can be decoded ({cause}); give one of {', '.join(FORMATS)}"
        ) from None


def _check_pixels(size: tuple[int, int], most_pixels: int) -> None:
    if size[0] < 1 or size[1] < 1 or size[0] * size[1] > most_pixels:
        raise RequestError(
            f"an image has 1 to {most_pixels} pixels, found {size[0]} x {size[1]}; make it smaller before sending it"
        )


def _converted(library: ModuleType, image: Any, mode: str) -> Any:
    if image.mode.startswith("I;16"):
        # Pillow would clip 16-bit greys at 255 instead of scaling them.
        scaled = np.asarray(image, dtype=np.float32) / 257
        return library.fromarray(np.round(scaled).astype(np.uint8)).convert(mode)
    if image.mode == mode:
        image.load()
        return image
    return image.convert(mode)


def _of_array(library: ModuleType, pixels: NDArray[Any], most_pixels: int) -> Any:
    grey = pixels.ndim == 2
    colour = pixels.ndim == 3 and pixels.shape[2] in (3, 4) and pixels.dtype == np.uint8
    if not (grey or colour) or pixels.dtype not in (np.uint8, np.uint16):
        raise RequestError(
            "pixels are unsigned whole numbers [height, width] of 8 or 16 bits, or [height, width, 3 or 4] of 8, found "
            f"{list(pixels.shape)} of {pixels.dtype}; give those, or inputs as floating-point numbers"
        )
    _check_pixels((pixels.shape[1], pixels.shape[0]), most_pixels)
    return library.fromarray(np.ascontiguousarray(pixels))


def _resize(library: ModuleType, image: Any, preprocessing: Preprocessing, most_pixels: int) -> Any:
    """Resized as timm and torchvision do, where the size changes at all."""
    width, height = image.size
    target = _resized(height, width, preprocessing)
    if target[0] * target[1] > most_pixels or min(target) < 1:
        raise RequestError(
            f"an image must not be so oblong that resizing makes it {target[1]} x {target[0]} pixels, found {width} x "
            f"{height}; cut it first"
        )
    if target == (height, width):
        return image
    kinds = library.Resampling
    return image.resize((target[1], target[0]), kinds[preprocessing.interpolation.upper()])


def _resized(height: int, width: int, preprocessing: Preprocessing) -> tuple[int, int]:
    """(height, width) after resizing.

    Under `center` the shorter side takes its length (torchvision's Resize, which cuts off fractions), or with an oblong
    target both sides reach theirs (timm's ResizeKeepRatio, which rounds). Under `border` both stay within.
    """
    high, wide = preprocessing.resize
    if preprocessing.crop_mode == "squash":
        return high, wide
    if preprocessing.crop_mode == "center" and high == wide:
        longer = int(high * max(height, width) / min(height, width))
        return (longer, high) if height > width else (high, longer)
    pick = min if preprocessing.crop_mode == "center" else max
    ratio = pick(height / high, width / wide)
    return round(height / ratio), round(width / ratio)


def _centre(library: ModuleType, image: Any, size: tuple[int, ...], fill: tuple[int, ...] | None) -> Any:
    """The central part of a size, with a border (black, or of a colour) where the image is smaller."""
    high, wide = size
    width, height = image.size
    if wide > width or high > height:
        left, top = max(wide - width, 0) // 2, max(high - height, 0) // 2
        colour: Any = 0 if fill is None else fill[0] if len(fill) == 1 else fill
        larger = library.new(image.mode, (max(width, wide), max(height, high)), colour)
        larger.paste(image, (left, top))
        image = larger
        width, height = image.size
    top, left = round((height - high) / 2.0), round((width - wide) / 2.0)
    return image.crop((left, top, left + wide, top + high))


def described(source: object) -> str:
    """What was given, for a message."""
    if isinstance(source, np.ndarray):
        return f"{list(source.shape)} of {source.dtype}"
    return shown(source)
