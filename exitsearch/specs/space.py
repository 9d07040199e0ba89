"""SearchSpace (TOML, written by people): which placements and exit heads a search may choose from.

schema_version = 1
description = "the seven heads of Multi-Exit Vision Transformer on a small ViT"

[backbone]
name = "vit_tiny_patch16_224"

[[heads]]
type = "vit_ee"
placements = "0-5"          # left out: wherever the head fits

[limits]
max_exits = 4
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from exitsearch.errors import InputError
from exitsearch.specs.document import Document, Part
from exitsearch.specs.head import HeadChoice, Option


class SpaceBackbone(Part):
    """The backbone a space is meant for; None leaves the choice to the command line."""

    name: str | None = None
    input_size: tuple[int, int, int] | None = None
    num_outputs: int | None = Field(default=None, ge=1)


class SpaceHead(Part):
    """One candidate head: its type, options, and where it may stand (None: wherever it fits)."""

    type: str
    options: dict[str, Option] = {}
    placements: str | None = None

    @property
    def choice(self) -> HeadChoice:
        """Head type and options in one."""
        return HeadChoice(self.type, dict(self.options))


class Limits(Part):
    """Bounds on a configuration; None means no bound."""

    max_exits: int | None = Field(default=None, ge=0)


class SearchSpace(Document):
    """Candidate placements and heads, and limits on what may be chosen.

    Attributes:
        placements: placements as on the command line (`0,2,4-8`); None means all.
    """

    kind: ClassVar[str] = "search space"
    description: str = ""
    backbone: SpaceBackbone = SpaceBackbone()
    placements: str | None = None
    heads: list[SpaceHead] = []
    limits: Limits = Limits()

    def candidates(self, placement_count: int) -> dict[str, set[int]] | None:
        """Allowed placements of each head by its text, or None when the space names no heads (all are allowed)."""
        if not self.heads:
            return None
        everywhere = select_placements(self.placements, placement_count)
        chosen: dict[str, set[int]] = {}
        for head in self.heads:
            here = set(select_placements(head.placements, placement_count)) & set(everywhere)
            chosen.setdefault(str(head.choice), set()).update(here)
        return chosen


def select_placements(text: str | None, count: int) -> list[int]:
    """Placements chosen by a text of numbers and ranges; all of them for None.

    >>> select_placements("0,2,4-6", 12)
    [0, 2, 4, 5, 6]

    Args:
        text: numbers and ranges separated by commas, both ends included.
        count: how many placements there are.

    Raises:
        InputError: when it cannot be read or names a placement that does not exist.
    """
    if text is None or text.strip() == "all":
        return list(range(count))
    chosen: set[int] = set()
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InputError(f"placements are written as numbers and ranges (0,2,4-8), found {part.strip()!r}")
        low, high = int(first), int(last) if dash else int(first)
        if low > high or high >= count:
            raise InputError(f"placements run from 0 to {count - 1}, found {part.strip()!r}")
        chosen.update(range(low, high + 1))
    return sorted(chosen)
