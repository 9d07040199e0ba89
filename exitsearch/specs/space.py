"""SearchSpace (TOML, written by people): which placements and exit heads a search may choose from.

schema_version = 1
description = "the seven heads of Multi-Exit Vision Transformer on a small ViT"

[backbone]
name = "vit_tiny_patch16_224"

[[heads]]
type = "vit_ee"
placements = "0-5"          # left out: wherever the head fits

[limits]                    # each as on the command line, and together with it; left out: no limit
max_exits = 4
max_extra_params = 2000000
max_memory = "64MiB"
max_energy = "12mJ"
min_value_at = ["20ms=0.7"]
force = ["11"]
forbid = ["0", "1:vit_ee"]

[knobs]                     # see specs/knobs.py
threads = [1, 2]
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import ClassVar

from pydantic import Field

from exitsearch.errors import InputError, shown
from exitsearch.specs.document import Document, Part
from exitsearch.specs.head import HeadChoice, Option
from exitsearch.specs.knobs import Knobs
from exitsearch.specs.limits import Limits
from exitsearch.specs.placement import Placement
from exitsearch.specs.table import whole_number


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


class SearchSpace(Document):
    """Candidate placements and heads, limits on what may be chosen, and knobs around it.

    Attributes:
        placements: placements as on the command line (`0,2,4-8`, `layers.2.*`, `every:10%`, `stages`); None means all.
        knobs: what may be turned besides the exits.
    """

    kind: ClassVar[str] = "search space"
    description: str = ""
    backbone: SpaceBackbone = SpaceBackbone()
    placements: str | None = None
    heads: list[SpaceHead] = []
    limits: Limits = Limits()
    knobs: Knobs = Knobs()

    def candidates(self, placement_count: int, *, placements: Sequence[Placement] = ()) -> dict[str, set[int]] | None:
        """Allowed placements of each head by its text, or None when the space names no heads (all are allowed).

        Args:
            placement_count: how many placements there are.
            placements: their facts, where known, for texts that choose by them.
        """
        if not self.heads:
            return None
        everywhere = select_placements(self.placements, placement_count, placements=placements)
        chosen: dict[str, set[int]] = {}
        for head in self.heads:
            here = set(select_placements(head.placements, placement_count, placements=placements)) & set(everywhere)
            chosen.setdefault(str(head.choice), set()).update(here)
        return chosen


def select_placements(text: str | None, count: int, *, placements: Sequence[Placement] = ()) -> list[int]:
    """Placements chosen by a text; all of them for None.

    >>> select_placements("0,2,4-6", 12)
    [0, 2, 4, 5, 6]

    Args:
        text: parts separated by commas, each of them one of
            `2` or `4-8`: numbers, both ends of a range included;
            `layers.2.*`: a pattern of module names (`*`, `?`, `[...]`);
            `every:10%`: the first placement at or after each multiple of that share of the backbone's MACs;
            `stages`: the last placement at each size of the features;
            `all`.
        count: how many placements there are.
        placements: their facts, for all forms but numbers; there may be none in tables that a user brought.

    Raises:
        InputError: when it cannot be read or names a placement that does not exist.
    """
    if text is None or text.strip() == "all":
        return list(range(count))
    chosen: set[int] = set()
    for part in (piece.strip() for piece in text.split(",")):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if first.isdecimal() and (last.isdecimal() or not dash):
            low, high = whole_number(first), whole_number(last if dash else first)
            if low is None or high is None or low > high or high >= count:
                raise InputError(f"placements run from 0 to {count - 1}, found {shown(part)}")
            chosen.update(range(low, high + 1))
        else:
            chosen.update(_by_facts(part, placements))
    return sorted(chosen)


def _by_facts(part: str, placements: Sequence[Placement]) -> list[int]:
    """Placements chosen by what is known of them."""
    share = part.removeprefix("every:").removesuffix("%")
    if part.startswith("every:") and part.endswith("%"):
        return _equally_spaced(_percentage(share, part), placements)
    # `4-`, `-1` and the like are numbers gone wrong, not names.
    if not any(letter.isalpha() or letter in "*?" for letter in part):
        raise InputError(f"placements are written as numbers and ranges (0,2,4-8), found {part!r}")
    if not placements:
        raise InputError(
            f"placements are chosen by number (0,2,4-8) where nothing else is known of them, found {part!r}"
        )
    if part == "stages":
        sizes = [(placement.layout, placement.channels, placement.grid) for placement in placements]
        return [index for index, size in enumerate(sizes) if sizes[index + 1 : index + 2] != [size]]
    found = [placement.index for placement in placements if fnmatchcase(placement.module, part)]
    if not found:
        raise InputError(
            f"no placement's module matches {part!r}; modules run from {placements[0].module} to "
            f"{placements[-1].module}, see exitsearch list placements"
        )
    return found


def _percentage(text: str, part: str) -> float:
    try:
        share = float(text) / 100
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise InputError(f"equal shares of the MACs are written as every:10%, above 0% and below 100%, found {part!r}")
    return share


def _equally_spaced(share: float, placements: Sequence[Placement]) -> list[int]:
    """The first placement at or after each multiple of a share of the MACs."""
    shares = [placement.macs_share for placement in placements if placement.macs_share is not None]
    if not placements or len(shares) < len(placements):
        raise InputError("every:N% needs the placements' shares of the MACs; make the profile again, or give numbers")
    # A thousandth of tolerance: twelve equal blocks are twelfths, whatever the stem adds.
    marks = [step * share - 1e-3 for step in range(1, int(1 / share) + 1)]
    firsts = (next((index for index, at in enumerate(shares) if at >= mark), None) for mark in marks)
    return sorted({index for index in firsts if index is not None})
