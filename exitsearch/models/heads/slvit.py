"""The head of "Single-layer vision transformers for more accurate early exits with less overhead" (2022).

The map is cut into patches, each embedded linearly; a class token and learned positions are added, and one
transformer layer follows. The paper published no sizes that we could read: these are chosen so that the head is
lighter, in parameters and MACs, than the `conv` head at the same placement of a CNN.
"""

from __future__ import annotations

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from exitsearch.errors import InputError, UnsupportedError
from exitsearch.models import features
from exitsearch.models.heads.base import Count, Rate, Ratio, init_like_keras
from exitsearch.models.heads.mevit import TailHead
from exitsearch.models.heads.registry import register_head
from exitsearch.models.heads.tail import Tail
from exitsearch.specs.placement import Placement

# The rule for the patch size. 8 patches a side keep the attention far below the embedding in MACs; beyond 4 x 4 cells
# a patch the embedding (patch^2 * channels * width weights) would outweigh the convolutions of `conv`.
_ENOUGH_PATCHES = 8
_LARGEST_PATCH = 4


@register_head(
    "sl_vit",
    description="the map as patches, class token, one narrow transformer layer",
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
    ) -> None:
        super().__init__(placement, num_outputs)
        if width % num_heads:
            raise InputError(f"num_heads of sl_vit must divide its width {width}, found {num_heads}")
        height, columns = placement.grid
        patch = patch_size or min(_LARGEST_PATCH, -(-max(height, columns) // _ENOUGH_PATCHES))
        if patch > max(height, columns):
            raise UnsupportedError(
                f"patch_size {patch} of sl_vit is larger than the {height}x{columns} grid of placement "
                f"{placement.index}; choose at most {max(height, columns)}, or leave it out"
            )
        # Left, right, top, bottom, as torch's pad wants them.
        self.padding = (0, -columns % patch, 0, -height % patch)
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

    def forward(self, features_: Tensor) -> Tensor:
        """Outputs [batch, num_outputs]."""
        x = features.feature_map(features_, self.placement)
        if any(self.padding):
            x = functional.pad(x, self.padding)
        x = self.embed(x).flatten(2).transpose(1, 2)  # [batch, patches, width]
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), dim=1) + self.positions
        x = self.norm(self.block(x)[:, 0])
        outputs: Tensor = self.tail(x)
        return outputs
