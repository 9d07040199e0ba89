"""Reading off a tensor's shape what it is to an exit head: tokens or a map, its channels, grid and prefix tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from exitsearch.specs.placement import Layout

# Prefix tokens that timm's models put before the patches: class and distillation token, up to 16 registers.
_MOST_PREFIX_TOKENS = 18


@dataclass(frozen=True)
class FeatureShape:
    """What the features at a placement are, as `Placement` has it."""

    layout: Layout
    channels: int
    grid: tuple[int, int]
    prefix_tokens: int = 0
    class_token: bool = False


@dataclass(frozen=True)
class TokenFacts:
    """What a model says of its tokens.

    Attributes:
        declared: its number of prefix tokens; None when it does not say.
        class_token: whether it has a class token.
        channels_last: whether it says that its maps are NHWC.
    """

    declared: int | None
    class_token: bool
    channels_last: bool

    @classmethod
    def of(cls, model: nn.Module) -> TokenFacts:
        """Read from the attributes that timm's models share, and the names of their own parameters."""
        declared = getattr(model, "num_prefix_tokens", None)
        names = [
            name
            for name, _ in model.named_parameters()
            if name.rpartition(".")[2].startswith(("cls_token", "class_token"))
        ]
        return cls(
            declared=declared if isinstance(declared, int) else None,
            class_token=any(name.startswith(("cls_token", "class_token")) for name in names),
            channels_last=getattr(model, "output_fmt", "NCHW") == "NHWC",
        )


def read_shape(
    small: Tensor, large: Tensor, *, batches: tuple[int, int], image: tuple[int, int], tokens: TokenFacts
) -> FeatureShape | None:
    """What a tensor is to an exit head; None when no head can read it.

    A map has two axes in the image's proportions, a row of tokens fills such a grid but for a few in front.

    Args:
        small: the tensor for a batch of the first size.
        large: the same for a batch of the second size; only the first axis may differ.
        batches: the two batch sizes.
        image: (height, width) of the input in pixels.
        tokens: what the model says of its tokens.
    """
    batch_first = (small.shape[:1], large.shape[:1]) == ((batches[0],), (batches[1],))
    if not batch_first or small.shape[1:] != large.shape[1:] or not small.is_floating_point():
        return None
    if small.ndim == 4:
        _, first, second, third = small.shape
        nchw, nhwc = _fits(second, third, image), _fits(first, second, image)
        if nhwc and (tokens.channels_last or not nchw):
            return FeatureShape("nhwc", third, (first, second))
        return FeatureShape("nchw", first, (second, third)) if nchw else None
    if small.ndim == 3:
        _, count, channels = small.shape
        if tokens.class_token and count == 1:
            return FeatureShape("tokens", channels, (0, 0), prefix_tokens=1, class_token=True)
        likely = [tokens.declared or 0, int(tokens.class_token), 0]
        for prefix in [*likely, *range(_MOST_PREFIX_TOKENS + 1)]:
            grid = _grid_of(count - prefix, image)
            if grid is not None:
                has_class = tokens.class_token and prefix > 0
                return FeatureShape("tokens", channels, grid, prefix, has_class)
    return None


def _grid_of(cells: int, image: tuple[int, int]) -> tuple[int, int] | None:
    """The grid in the image's proportions that so many cells fill; None when there is none."""
    if cells < 1:
        return None
    near = round(math.sqrt(cells * image[0] / image[1]))
    for height in (near, near - 1, near + 1):
        if height > 0 and cells % height == 0 and _fits(height, cells // height, image):
            return height, cells // height
    return None


def _fits(height: int, width: int, image: tuple[int, int]) -> bool:
    """Whether a grid covers an image with cells as high as wide, up to one cell of rounding at its edge."""
    if not (0 < height <= image[0] and 0 < width <= image[1]):
        return False
    # The cell's side in pixels, from both axes: between size / cells and size / (cells - 1).
    low = max(image[0] / (height + 1), image[1] / (width + 1))
    high = min(image[0] / max(height - 1, 0.5), image[1] / max(width - 1, 0.5))
    exact = height * image[1] == width * image[0]
    return exact or (image[0] != image[1] and low < high)
