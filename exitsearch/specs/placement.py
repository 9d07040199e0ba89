"""Placement: a point of the backbone where an exit head may attach, and what the features there look like."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from exitsearch.specs.document import Part

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

    @property
    def patch_count(self) -> int:
        """Number of patch tokens, or of cells of the map."""
        return self.grid[0] * self.grid[1]

    @property
    def token_count(self) -> int:
        """Number of tokens that pass this placement, prefix tokens included."""
        return self.prefix_tokens + self.patch_count
