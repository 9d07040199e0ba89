"""Made-up photographs: folders of ImageNet's shape, for measuring what reading them costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

# The usual size of ImageNet's, and a quality at which these have some 110 kB, as ImageNet's have.
SIZE = (500, 375)
_QUALITY = 92
# So few different pictures are encoded; the files are copies, since to read is what is measured.
_DIFFERENT = 64


def picture(number: int, *, size: tuple[int, int] = SIZE) -> Image.Image:
    """Smooth colours with some grain: as hard to decode as a photograph."""
    rng = np.random.default_rng(number)
    width, height = size
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    grain = rng.normal(0, 12, (height, width, 1))
    return Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8))


def make_folder(
    folder: Path,
    *,
    counts: dict[str, int],
    classes: int,
    size: tuple[int, int] = SIZE,
    write: Callable[[Path, bytes], object] = Path.write_bytes,
) -> int:
    """Write `folder/<split>/<class>/<number>.JPEG`; what is there already stays.

    Args:
        folder: is made.
        counts: images by split.
        classes: so many, of equal size or nearly.
        size: (width, height) of every image.
        write: gets a path and the bytes.

    Returns:
        Mean bytes of a file.
    """
    import io

    encoded = []
    for number in range(min(_DIFFERENT, sum(counts.values()))):
        buffer = io.BytesIO()
        picture(number, size=size).save(buffer, "JPEG", quality=_QUALITY)
        encoded.append(buffer.getvalue())
    for split, count in counts.items():
        for number in range(count):
            path = folder / split / f"n{number % classes:08d}" / f"{number:08d}.JPEG"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path, encoded[number % len(encoded)])
    return sum(map(len, encoded)) // len(encoded)
