"""The head of "Single-layer vision transformers for more accurate early exits with less overhead" (2022).

The map is cut into patches, each embedded linearly; a class token and learned positions are added, and one
transformer layer follows. The paper published no sizes that we could read: these are chosen so that the head is
lighter, in parameters and MACs, than the `conv` head at the same placement of a CNN.

With `side` it is the paper's fusion of two senses: a further input of the model (the spectrogram of a sound, say) is
cut into patches too, and its tokens, with positions of their own, stand beside the visual ones in that one layer.

    class token | patches of the map ... | patches of the side input ...   -> one layer -> class token -> tail
"""

from __future__ import annotations

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from exitsearch.errors import InputError, UnsupportedError
from exitsearch.models.features import feature_map
from exitsearch.models.heads.base import Count, Rate, Ratio, init_like_keras
from exitsearch.models.heads.mevit import TailHead
from exitsearch.models.heads.registry import register_head
from exitsearch.models.heads.tail import Tail
from exitsearch.specs.placement import Placement
from exitsearch.specs.side import Size

# The rule for the patch size. 8 patches a side keep the attention far below the embedding in MACs; beyond 4 x 4 cells
# a patch the embedding (patch^2 * channels * width weights) would outweigh the convolutions of `conv`.
_ENOUGH_PATCHES = 8
_LARGEST_PATCH = 4


class SideTokens(nn.Module):
    """A side input as tokens: patches, embedded linearly, with learned positions of their own.

    A raw input has few channels, so that large patches cost little: their side is not limited as that of the map's.

    Args:
        size: (channels, height, width) of the side input.
        width: channels of the tokens.
        patch_size: side of a patch; None takes the smallest that leaves at most 8 along the longer side.
    """

    def __init__(self, size: Size, *, width: int, patch_size: int | None = None) -> None:
        super().__init__()
        channels, height, columns = size
        patch = patch_size or -(-max(height, columns) // _ENOUGH_PATCHES)
        if patch > max(height, columns):
            raise UnsupportedError(
                f"side_patch_size {patch} of sl_vit is larger than its {height}x{columns} side input; choose at most "
                f"{max(height, columns)}, or leave it out"
            )
        self.padding = _padding(height, columns, patch)
        self.embed = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)
        self.positions = nn.Parameter(torch.empty(1, -(-height // patch) * -(-columns // patch), width))
        init_like_keras(self.embed)
        nn.init.trunc_normal_(self.positions, std=0.02)  # as in ViT

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [batch, patches, width] of a side input [batch, channels, height, width]."""
        return _patches(x, self.embed, self.padding) + self.positions


def _padding(height: int, columns: int, patch: int) -> tuple[int, int, int, int]:
    """Zeros at the lower and right edge, so that patches fit: left, right, top, bottom, as torch's pad wants them."""
    return (0, -columns % patch, 0, -height % patch)


def _patches(x: Tensor, embed: nn.Module, padding: tuple[int, ...]) -> Tensor:
    """Embedded patches [batch, patches, width] of a map [batch, channels, height, width]."""
    x = functional.pad(x, padding) if any(padding) else x
    tokens: Tensor = embed(x).flatten(2).transpose(1, 2)
    return tokens


@register_head(
    "sl_vit",
    description="the map as patches, class token, one narrow transformer layer; with side=NAME a side input's too",
    source="Single-layer vision transformers (2022, arXiv 2105.09121)",
    needs=("grid",),
)
class SingleLayerVit(TailHead):
    """Patch embedding of the map, class token and positions, one transformer block, LayerNorm, tail.

    Args:
        patch_size: side of a patch in cells, padded with zeros at the lower and right edge; None takes the smallest
            that leaves at most 8 patches along the longer side, and never more than 4.
        width: channels inside the head.
        num_heads: attention heads; must divide `width`.
        mlp_ratio: hidden width of the block's MLP over `width`.
        block_dropout: dropout inside the block.
        hidden: width of the tail.
        dropout: dropout of the tail.
        side: a side input of the model that is read beside the features, by its name; None reads none.
        side_patch_size: side of its patches, padded likewise; None takes the smallest that leaves at most 8 along the
            longer side.
    """

    def __init__(
        self,
        placement: Placement,
        num_outputs: int,
        *,
        patch_size: Count | None = None,
        width: Count = 64,
        num_heads: Count = 4,
        mlp_ratio: Ratio = 4.0,
        block_dropout: Rate = 0.1,
        hidden: Count = 256,
        dropout: Rate = 0.5,
        side: str | None = None,
        side_patch_size: Count | None = None,
    ) -> None:
        super().__init__(placement, num_outputs)
        if side is None and side_patch_size is not None:
            raise InputError("side_patch_size of sl_vit is of its side input, and there is none; add side=NAME")
        if width % num_heads:
            raise InputError(
                f"num_heads of sl_vit must divide its width {width}, found {num_heads}; "
                "choose a divisor, or leave it out"
            )
        height, columns = placement.grid
        patch = patch_size or min(_LARGEST_PATCH, -(-max(height, columns) // _ENOUGH_PATCHES))
        if patch > max(height, columns):
            raise UnsupportedError(
                f"patch_size {patch} of sl_vit is larger than the {height}x{columns} grid of placement "
                f"{placement.index}; choose at most {max(height, columns)}, or leave it out"
            )
        self.padding = _padding(height, columns, patch)
        tokens = 1 + -(-height // patch) * -(-columns // patch)
        self.embed = nn.Conv2d(placement.channels, width, kernel_size=patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, tokens, width))
        self.block = Block(width, num_heads=num_heads, mlp_ratio=mlp_ratio, qkv_bias=True, proj_drop=block_dropout)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.tail = Tail(width, num_outputs, hidden=hidden, dropout=dropout)
        init_like_keras(self.embed)
        init_like_keras(self.block)
        nn.init.trunc_normal_(self.positions, std=0.02)  # as in ViT
        self.side = side
        # Last, so that the same seed gives the same other weights with a side input and without.
        if side is not None:
            self.side_tokens = SideTokens(self.read_side(side), width=width, patch_size=side_patch_size)

    def forward(self, features: Tensor, **side: Tensor) -> Tensor:
        """Outputs [batch, num_outputs]; `side` holds the side input that it reads."""
        x = _patches(feature_map(features, self.placement), self.embed, self.padding)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), dim=1) + self.positions
        if self.side is not None:
            x = torch.cat((x, self.side_tokens(side[self.side])), dim=1)
        x = self.norm(self.block(x)[:, 0])
        outputs: Tensor = self.tail(x)
        return outputs
