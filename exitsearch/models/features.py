"""Reading the features at a placement: class token, patch tokens or map, whatever the layout.

Every function takes the raw features and their `Placement`, and uses sizes from the placement only, so that traced
programs (torch.export, ONNX, torch.compile) keep a free batch size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from exitsearch.specs.placement import Placement


def patch_tokens(x: Tensor, placement: Placement) -> Tensor:
    """The tokens of the grid in row order, without any prefix token.

    Args:
        x: features in the placement's layout.
        placement: where they come from.

    Returns:
        Tokens [batch, patches, channels].
    """
    match placement.layout:
        case "tokens":
            return x[:, placement.prefix_tokens :]
        case "nchw":
            return x.flatten(2).transpose(1, 2)  # [batch, channels, h, w] -> [batch, h * w, channels]
        case "nhwc":
            return x.flatten(1, 2)  # [batch, h, w, channels] -> [batch, h * w, channels]


def class_token(x: Tensor, placement: Placement) -> Tensor:
    """The class token [batch, channels]; where there is none, the mean over the patch tokens stands in for it."""
    if placement.class_token:
        return x[:, 0]
    return mean_token(x, placement)


def mean_token(x: Tensor, placement: Placement) -> Tensor:
    """The mean over the patch tokens [batch, channels]."""
    match placement.layout:
        case "tokens":
            return patch_tokens(x, placement).mean(1)
        case "nchw":
            return x.mean((2, 3))
        case "nhwc":
            return x.mean((1, 2))


def distillation_token(x: Tensor, placement: Placement) -> Tensor | None:
    """The second token [batch, channels] of a distilled model; None elsewhere.

    A distilled model is one with exactly two prefix tokens, the first a class token: timm's models with registers
    beside a class token have four or more of them.
    """
    if placement.class_token and placement.prefix_tokens == 2:
        return x[:, 1]
    return None


def all_tokens(x: Tensor, placement: Placement) -> Tensor:
    """Class token, if there is one, and patch tokens [batch, tokens, channels]; other prefix tokens are dropped.

    `all_token_count` gives the number of tokens.
    """
    if placement.class_token and placement.prefix_tokens == 1:
        return x
    patches = patch_tokens(x, placement)
    if not placement.class_token:
        return patches
    return torch.cat((x[:, :1], patches), dim=1)


def all_token_count(placement: Placement) -> int:
    """How many tokens `all_tokens` returns."""
    return int(placement.class_token) + placement.patch_count


def sequence(x: Tensor, placement: Placement) -> Tensor:
    """Every token that the backbone's own next block would see [batch, prefix + patches, channels]."""
    return x if placement.layout == "tokens" else patch_tokens(x, placement)


def feature_map(x: Tensor, placement: Placement) -> Tensor:
    """The grid as a map [batch, channels, h, w], without any prefix token."""
    match placement.layout:
        case "tokens":
            return to_map(patch_tokens(x, placement), placement.grid)
        case "nchw":
            return x
        case "nhwc":
            return x.permute(0, 3, 1, 2)


def to_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Tokens [batch, h * w, channels] of a grid (h, w) as a map [batch, channels, h, w]."""
    return tokens.transpose(1, 2).reshape(-1, tokens.shape[2], *grid)
