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
from typing import Protocol

import torch
from torch import Tensor

from exitsearch.learn.data.loading import in_order

# The picture that a file is a tile of, by its name in `labels.csv`, for files that are one.
Groups = dict[str, str]


class HasGroups(Protocol):
    """A split, as far as pictures are concerned."""

    labels: Tensor
    groups: Tensor | None

    def __len__(self) -> int:
        """Number of samples, which are tiles."""
        ...


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


def picture_count(split: HasGroups) -> int:
    """How many pictures a split has: what its answers are of."""
    return len(split) if split.groups is None else int(split.groups.max()) + 1


def whole_batches(split: HasGroups, batch_size: int) -> list[list[int]]:
    """Every sample once, by batch: pictures in order, all tiles of a picture in one batch.

    Args:
        split: where it has no tiles, its samples are in order.
        batch_size: most samples of a batch; a picture with more is a batch alone.
    """
    if split.groups is None:
        return in_order(len(split), batch_size)
    by_picture = torch.argsort(split.groups, stable=True).tolist()
    found: list[list[int]] = [[]]
    start = 0
    for count in torch.bincount(split.groups).tolist():
        if found[-1] and len(found[-1]) + count > batch_size:
            found.append([])
        found[-1] += by_picture[start : start + count]
        start += count
    return found


def sum_batch(outputs: Tensor, split: HasGroups, batch: list[int]) -> Tensor:
    """Answers [samples, ...] to one of the `whole_batches` of a split as answers of its pictures, in order."""
    if split.groups is None:
        return outputs
    numbers = split.groups[batch]
    return sum_tiles(outputs, numbers - numbers[0])


def torn_picture(parts: Iterable[Sequence[str]], groups: Groups) -> str | None:
    """A picture with tiles in two parts of the data; None where there is none."""
    seen: dict[str, int] = {}
    for number, files in enumerate(parts):
        for file in files:
            if file in groups and seen.setdefault(groups[file], number) != number:
                return groups[file]
    return None
