"""Make images of blobs and how many there are, a regression with counts: a folder for `--data` with `labels.csv`.

Round blobs of several sizes and brightnesses stand on a noisy background of varying brightness; where they overlap they
hide each other, so that the sum of the pixels does not give the count away. Counts are evenly spread from 0 to the
most. With `--tiles N` every picture is cut into N x N files, whose targets are the blobs with their centre in them, and
a column `group` says which belong together.

    python scripts/make_counts.py --out counts             # 3,000 images of 64 x 64 pixels, 0 to 200 blobs, 20 s
    python scripts/make_counts.py --out tiles --tiles 2    # the same in four tiles each
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import figures
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from exitsearch.errors import InputError
from exitsearch.specs.document import write_text

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}

# Standard deviation of a blob in pixels, and how bright it is at its centre.
WIDTHS = (0.8, 1.6)
LIGHTS = (0.4, 0.9)
BACKGROUNDS = (0.05, 0.25)
NOISE = 0.03

Array = NDArray[np.float64]


def draw(count: int, *, size: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """A picture with blobs.

    Args:
        count: number of blobs, from 0.
        size: side of the picture in pixels.
        rng: draws everything.

    Returns:
        The picture [size, size] in 0..1, and the centres [count, 2] of the blobs in pixels, row and column.
    """
    centres = rng.uniform(0, size, (count, 2))
    widths, lights = rng.uniform(*WIDTHS, (count, 1)), rng.uniform(*LIGHTS, (count, 1))
    places = np.arange(size) + 0.5
    rows, columns = (np.exp(-((places - centres[:, [axis]]) ** 2) / (2 * widths**2)) for axis in (0, 1))
    # What each blob lets through, multiplied over the blobs.
    through = np.log1p(-(lights * rows)[:, :, None] * columns[:, None, :]).sum(axis=0)
    background = rng.uniform(*BACKGROUNDS)
    picture = 1 - (1 - background) * np.exp(through) + rng.normal(0, NOISE, (size, size))
    return np.clip(picture, 0, 1), centres


def tiles(picture: Array, centres: Array, *, across: int) -> list[tuple[int, int, Array, int]]:
    """Row, column, pixels and count of each of `across` x `across` tiles; a blob counts where its centre is."""
    side = len(picture) // across
    found = []
    for row in range(across):
        for column in range(across):
            pixels = picture[row * side : (row + 1) * side, column * side : (column + 1) * side]
            inside = (centres // side == (row, column)).all(axis=1)
            found.append((row, column, pixels, int(inside.sum())))
    return found


def save(picture: Array, path: Path) -> None:
    """Write a picture in 0..1 as a grey PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(picture * 255).astype(np.uint8)).save(path)


def names(count: int) -> Iterator[str]:
    """Names of so many pictures without their ending, `train/00000` and on, by split."""
    for split, share in SHARES.items():
        yield from (f"{split}/{number:05d}" for number in range(round(share * count)))


def write_labels(folder: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write `labels.csv`. Do so last, so that the files that it names are there."""
    lines = [",".join(str(cell) for cell in row) for row in [header, *rows]]
    write_text(folder / "labels.csv", "\n".join(lines) + "\n")


def make(options: argparse.Namespace) -> dict[str, object]:
    """Write the images and `labels.csv`; returns figures."""
    rng = np.random.default_rng(options.seed)
    rows: list[list[object]] = []
    for name in names(options.count):
        picture, centres = draw(int(rng.integers(options.most + 1)), size=options.size, rng=rng)
        if options.tiles == 1:
            save(picture, options.out / f"{name}.png")
            rows.append([f"{name}.png", len(centres)])
            continue
        for row, column, pixels, count in tiles(picture, centres, across=options.tiles):
            save(pixels, options.out / f"{name}_{row}_{column}.png")
            rows.append([f"{name}_{row}_{column}.png", count, name])
    write_labels(options.out, ["file", "target", "group"] if options.tiles > 1 else ["file", "target"], rows)
    return {"images": len(rows), "pictures": len(rows) // options.tiles**2, "folder": str(options.out)}


def work(options: argparse.Namespace) -> int:
    if options.count < 5 or options.most < 1 or options.tiles < 1 or options.size < 1:
        raise InputError(
            "--count must be 5 or more (one image a split), --most, --tiles and --size 1 or more; found "
            f"{options.count}, {options.most}, {options.tiles} and {options.size}"
        )
    if options.size % options.tiles:
        raise InputError(f"--size must be a multiple of --tiles, found {options.size} and {options.tiles}")
    found = make(options)
    figures.report(options, found)
    return 0


def add_options(parser: argparse.ArgumentParser, *, what: str, most: int, size: int) -> None:
    """Where pictures go, how many there are, and what is in them.

    Args:
        what: can be counted in a picture.
        most: by default.
        size: side of a picture in pixels, by default.
    """
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--count", type=int, default=3000, metavar="N", help="pictures (default: 3000)")
    parser.add_argument("--most", type=int, default=most, metavar="N", help=f"most {what} (default: {most})")
    parser.add_argument("--size", type=int, default=size, metavar="PIXELS", help=f"side of a picture (default: {size})")
    figures.add_options(parser, "--seed")


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    add_options(parser, what="blobs", most=200, size=64)
    parser.add_argument("--tiles", type=int, default=1, metavar="N", help="cut into N x N tiles (default: 1)")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
