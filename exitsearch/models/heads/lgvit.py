"""The heads of "LGViT: Dynamic Early Exiting for Accelerating Vision Transformer" (2023, arXiv 2308.00255).

Only patch tokens enter the body. The output stage follows what the backbone has: a class token is added to the mean
over the body's output; a distillation token beside it has a second linear layer, and the two answers are averaged;
without a class token (Swin) a LayerNorm precedes the mean.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from timm.layers.attention import Attention
from timm.layers.norm import LayerNorm
from torch import Tensor, nn

from exitsearch.models import features
from exitsearch.models.heads.base import Count, ExitHead, attention_heads
from exitsearch.models.heads.registry import register_head
from exitsearch.specs.placement import Placement

SOURCE = "LGViT (2023, arXiv 2308.00255)"


class _LgVitHead(ExitHead):
    """A body over the patch tokens, and LGViT's output stage."""

    def __init__(self, placement: Placement, num_outputs: int) -> None:
        super().__init__(placement, num_outputs)
        channels = placement.channels
        self.norm = nn.Identity() if placement.class_token else LayerNorm(channels)
        self.fc = nn.Linear(channels, num_outputs)
        distilled = placement.class_token and placement.prefix_tokens == 2
        self.fc_distilled = nn.Linear(channels, num_outputs) if distilled else None

    def body(self, features_: Tensor) -> Tensor:
        """The body's output [batch, tokens, channels], which LGViT's feature losses compare between exits."""
        raise AssertionError(f"{type(self).__name__} has no body")

    def forward(self, features_: Tensor) -> Tensor:
        """Outputs [batch, num_outputs]."""
        pooled = self.norm(self.body(features_)).mean(1)  # [batch, channels]
        if not self.placement.class_token:
            outputs: Tensor = self.fc(pooled)
            return outputs
        outputs = self.fc(pooled + features.class_token(features_, self.placement))
        distillation = features.distillation_token(features_, self.placement)
        if self.fc_distilled is None or distillation is None:
            return outputs
        second: Tensor = self.fc_distilled(pooled + distillation)
        return (outputs + second) / 2

    def body_reader(self) -> nn.Module:
        """The norm (or nothing) that follows the body, before the mean over its tokens."""
        return self.norm

    def output_layers(self) -> list[nn.Linear]:
        """The last layer, and the distillation token's where there is one: their answers are averaged."""
        return [self.fc] if self.fc_distilled is None else [self.fc, self.fc_distilled]


@register_head(
    "lph",
    description="local perception: 1x1, depthwise 3x3 and 1x1 convolutions with a skip",
    source=SOURCE,
    needs=("grid",),
)
class LocalPerceptionHead(_LgVitHead):
    """1x1 convolution, GELU, BatchNorm, depthwise 3x3, GELU, BatchNorm, 1x1 convolution, BatchNorm, plus the input.

    Args:
        depthwise: whether the middle convolution is there; LGViT leaves it out at deeper placements.
    """

    def __init__(self, placement: Placement, num_outputs: int, *, depthwise: bool = True) -> None:
        super().__init__(placement, num_outputs)
        channels = placement.channels
        layers: list[nn.Module] = [nn.Conv2d(channels, channels, 1), nn.GELU(), nn.BatchNorm2d(channels)]
        if depthwise:
            layers += [
                nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
                nn.GELU(),
                nn.BatchNorm2d(channels),
            ]
        layers += [nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels)]
        self.layers = nn.Sequential(*layers)

    def body(self, features_: Tensor) -> Tensor:
        """Output of the convolutions plus the input [batch, patches, channels]."""
        x = features.feature_map(features_, self.placement)
        mixed: Tensor = x + self.layers(x)
        return mixed.flatten(2).transpose(1, 2)


@register_head(
    "gah",
    description="global aggregation: self-attention over every r-th patch token in both directions",
    source=SOURCE,
    needs=("grid",),
)
class GlobalAggregationHead(_LgVitHead):
    """Every `stride`-th cell in both directions, self-attention over them without a skip.

    Args:
        stride: 2 or 3 in LGViT, growing with depth; 1 keeps every cell, for small grids.
        num_heads: attention heads; None takes LGViT's 8 where they divide the channels, and otherwise the largest
            divisor below that leaves 16 channels or more to each head.
    """

    def __init__(
        self,
        placement: Placement,
        num_outputs: int,
        *,
        stride: Annotated[int, Field(ge=1)] = 2,
        num_heads: Count | None = None,
    ) -> None:
        super().__init__(placement, num_outputs)
        self.stride = stride
        self.attention = Attention(
            placement.channels, num_heads=attention_heads(placement, num_heads, most=8), qkv_bias=False
        )

    def body(self, features_: Tensor) -> Tensor:
        """Output of the attention [batch, ceil(h / stride) * ceil(w / stride), channels]."""
        x = features.feature_map(features_, self.placement)[:, :, :: self.stride, :: self.stride]
        aggregated: Tensor = self.attention(x.flatten(2).transpose(1, 2))
        return aggregated
