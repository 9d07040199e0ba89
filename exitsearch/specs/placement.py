"""Placement: a point of the backbone where an exit head may attach, what the features there look like, and how people
name several (`0,2,4-8`, `layers.2.*`, `every:10%`, `stages`)."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from exitsearch.errors import InputError, shown
from exitsearch.specs.document import Part
from exitsearch.specs.side import SideInputs
from exitsearch.specs.table import whole_number

Layout = Literal["tokens", "nchw", "nhwc"]


class Placement(Part):
    """One placement and the facts that exit heads are built from.

    Attributes:
        index: number in execution order, from 0.
        module: the backbone's module whose output the features are (`blocks.3`).
        layout: `tokens` [batch, prefix + height * width, channels], `nchw` or `nhwc`.
        channels: size of the channel axis.
        grid: (height, width) of the patch tokens or of the map, in cells; (0, 0) where there is none.
        prefix_tokens: tokens before the patches (class token, distillation token, registers).
        class_token: whether the first prefix token is a class token.
        reduction: input side over feature side (16 for a ViT/16).
        depth: blocks executed up to and including this placement.
        macs_share: share of the backbone's MACs spent up to here, 0 to 1, by torch's counter (convolutions, matrix
            products, attention); None when unknown.
        carried: sizes, without the batch axis, of the tensors that go on from here beside the features: skip
            connections, other branches, relative positions.
        side_inputs: (channels, height, width) of each further input of the model, by name, which a head here may read
            beside the features. Written only where there are any.
    """

    index: int = Field(ge=0)
    module: str
    layout: Layout
    channels: int = Field(ge=1)
    grid: tuple[int, int]
    prefix_tokens: int = Field(ge=0, default=0)
    class_token: bool = False
    reduction: float = Field(gt=0)
    depth: int = Field(ge=1)
    macs_share: float | None = Field(default=None, ge=0, le=1)
    carried: list[list[int]] = []
    side_inputs: SideInputs = {}

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Profiles of models without side inputs keep their identity.
        data: dict[str, Any] = handler(self)
        if not data.get("side_inputs"):
            data.pop("side_inputs", None)
        return data

    @property
    def patch_count(self) -> int:
        """Number of patch tokens, or of cells of the map."""
        return self.grid[0] * self.grid[1]

    @property
    def token_count(self) -> int:
        """Number of tokens that pass this placement, prefix tokens included."""
        return self.prefix_tokens + self.patch_count


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
                raise InputError(
                    f"placements run from 0 to {count - 1}, found {shown(part)}; name placements among these"
                )
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
        raise InputError(
            f"placements are written as numbers and ranges (0,2,4-8), found {part!r}; write them in that form"
        )
    if not placements:
        raise InputError(
            f"placements are chosen by number (0,2,4-8) where nothing else is known of them, found {part!r}; "
            "write numbers"
        )
    if part == "stages":
        sizes = [(placement.layout, placement.channels, placement.grid) for placement in placements]
        return [index for index, size in enumerate(sizes) if sizes[index + 1 : index + 2] != [size]]
    found = [placement.index for placement in placements if fnmatchcase(placement.module, part)]
    if not found:
        raise InputError(
            f"no placement's module matches {part!r}; modules run from {placements[0].module} to "
            f"{placements[-1].module}; see exitsearch list placements"
        )
    return found


def _percentage(text: str, part: str) -> float:
    try:
        share = float(text) / 100
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise InputError(
            f"equal shares of the MACs are written as every:10%, above 0% and below 100%, found {part!r}; "
            "write a share between them"
        )
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
