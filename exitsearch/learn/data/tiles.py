"""Tiles: several images of one picture, whose answers are summed.

A column `group` in `labels.csv` says which rows are tiles of one picture:

    file,target,group
    train/field_0_0.png,3,train/field
    train/field_0_1.png,5,train/field

Every tile has a target of its own (the cells that are seen in it), and a picture's target is the sum of its tiles'
(8 here). A row with an empty cell is a picture by itself.

Heads learn on tiles: a tile is an input, its own target what it is trained to answer. They are judged on pictures: an
exit's answer for a picture is the sum of its answers for the tiles, and scores, the constant answer that they are
compared with, the number of samples and the answers that are written are all of pictures. Splits keep a picture's tiles
together. A picture takes one pass for each of its tiles: where all tiles of a picture are computed together, profile
with as large a batch (`--batch-size`), so that budgets are times for a picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

# The picture that a file is a tile of, by its name in `labels.csv`, for files that are one.
Groups = dict[str, str]


class HasGroups(Protocol):
    """A split, as far as pictures are concerned."""

    labels: Tensor
    groups: Tensor | None


def pictures(files: Sequence[str], groups: Groups) -> list[list[int]]:
    """The places of each picture's tiles in a list of files, pictures in the order of their first tiles."""
    found: dict[object, list[int]] = {}
    for place, file in enumerate(files):
        found.setdefault(groups.get(file, place), []).append(place)
    return list(found.values())


def picture_numbers(files: Sequence[str], groups: Groups) -> Tensor | None:
    """Which picture each file is a tile of [files], numbered from 0 by first tiles; None where all are whole."""
    found = pictures(files, groups)
    if len(found) == len(files):
        return None
    numbers = torch.empty(len(files), dtype=torch.int64)
    for number, places in enumerate(found):
        numbers[places] = number
    return numbers


def sum_tiles(values: Tensor, numbers: Tensor | None) -> Tensor:
    """Values of tiles [tiles, ...] as values of pictures [pictures, ...], summed in double precision.

    Args:
        values: answers or targets.
        numbers: picture of each tile; None where all are whole, whose values are handed back as they are.
    """
    if numbers is None:
        return values
    summed = torch.zeros((int(numbers.max()) + 1, *values.shape[1:]), dtype=torch.float64)
    return summed.index_add(0, numbers, values.double()).to(values.dtype)


def picture_labels(split: HasGroups) -> Tensor:
    """Labels of a split's pictures, which are its samples where it has no tiles."""
    return sum_tiles(split.labels, split.groups)


def torn_picture(parts: Iterable[Sequence[str]], groups: Groups) -> str | None:
    """A picture with tiles in two parts of the data; None where there is none."""
    seen: dict[str, int] = {}
    for number, files in enumerate(parts):
        for file in files:
            if file in groups and seen.setdefault(groups[file], number) != number:
                return groups[file]
    return None


@dataclass(frozen=True)
class Block:
    """Samples that are answered together, tiles of a picture never apart.

    Attributes:
        samples: their numbers.
        rows: of the pictures (of the samples, where all are whole) among those that are answered.
        pictures: of each sample the number of its picture within the block; None where all are whole.
    """

    samples: list[int]
    rows: slice
    pictures: Tensor | None


def blocks_of(split: HasGroups, *, size: int, rows: Sequence[int] | None = None) -> list[Block]:
    """Blocks of at most `size` samples, or of one picture that has more tiles.

    Args:
        split: the samples.
        size: at least 1.
        rows: which pictures (samples, where all are whole), in order; None takes all.
    """
    if split.groups is None:
        chosen = list(range(len(split.labels)) if rows is None else rows)
        return [
            Block(chosen[start : start + size], slice(start, min(start + size, len(chosen))), None)
            for start in range(0, len(chosen), size)
        ]
    tiles: list[list[int]] = [[] for _ in range(int(split.groups.max()) + 1)]
    for sample, picture in enumerate(split.groups.tolist()):
        tiles[picture].append(sample)
    wanted = tiles if rows is None else [tiles[row] for row in rows]
    found: list[Block] = []
    start = 0
    while start < len(wanted):
        stop, count = start + 1, len(wanted[start])
        while stop < len(wanted) and count + len(wanted[stop]) <= size:
            count += len(wanted[stop])
            stop += 1
        here = wanted[start:stop]
        numbers = torch.tensor([number for number, of_one in enumerate(here) for _ in of_one])
        found.append(Block([sample for of_one in here for sample in of_one], slice(start, stop), numbers))
        start = stop
    return found
