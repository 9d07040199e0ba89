"""The heads that users expect anyway: linear, MLP, attention pooling and the convolutional exit of CNNs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from timm.layers.attention_pool import AttentionPoolLatent
from timm.layers.conv_bn_act import ConvNormAct
from timm.layers.mlp import Mlp
from timm.layers.norm import LayerNorm
from torch import Tensor, nn

from exitsearch.errors import UnsupportedError
from exitsearch.models import features
from exitsearch.models.heads.base import Count, ExitHead, Rate, Ratio, attention_heads
from exitsearch.models.heads.registry import register_head
from exitsearch.specs.placement import Placement

Pool = Literal["token", "mean"]


class _PooledHead(ExitHead):
    """A head on one vector: the class token (without one, the mean over the patch tokens), or always the mean."""

    def __init__(self, placement: Placement, num_outputs: int, *, pool: Pool) -> None:
        super().__init__(placement, num_outputs)
        if pool == "mean" and placement.patch_count == 0:
            raise UnsupportedError(
                f"pool=mean needs patch tokens, and placement {placement.index} has none; "
                "choose pool=class, or another head"
            )
        self.pool = pool

    def pooled(self, x: Tensor) -> Tensor:
        """The vector [batch, channels]."""
        if self.pool == "mean":
            return features.mean_token(x, self.placement)
        return features.class_token(x, self.placement)


@register_head("linear", description="class token or mean, norm, one linear layer", source="linear probe")
class LinearHead(_PooledHead):
    """Pool, LayerNorm, Linear.

    Args:
        pool: `token` takes the class token where there is one, `mean` the mean over the patch tokens.
        norm: whether a LayerNorm precedes the linear layer.
    """

    def __init__(self, placement: Placement, num_outputs: int, *, pool: Pool = "token", norm: bool = True) -> None:
        super().__init__(placement, num_outputs, pool=pool)
        self.norm = LayerNorm(placement.channels) if norm else nn.Identity()
        self.fc = nn.Linear(placement.channels, num_outputs)

    def forward(self, features_: Tensor) -> Tensor:
        """Outputs [batch, num_outputs]."""
        outputs: Tensor = self.fc(self.norm(self.pooled(features_)))
        return outputs

    def output_layers(self) -> list[nn.Linear]:
        """The last layer."""
        return [self.fc]


@register_head("mlp", description="class token or mean, norm, MLP with one hidden layer", source="timm's Mlp")
class MlpHead(_PooledHead):
    """Pool, LayerNorm, Linear, GELU, dropout, Linear.

    Args:
        hidden: width of the hidden layer.
        dropout: share of hidden values dropped in training.
        pool: as for `linear`.
    """

    def __init__(
        self,
        placement: Placement,
        num_outputs: int,
        *,
        hidden: Count = 256,
        dropout: Rate = 0.0,
        pool: Pool = "token",
    ) -> None:
        super().__init__(placement, num_outputs, pool=pool)
        self.norm = LayerNorm(placement.channels)
        # Dropout after the hidden layer alone: dropping outputs would falsify them.
        self.mlp = Mlp(placement.channels, hidden, num_outputs, drop=(dropout, 0.0))

    def forward(self, features_: Tensor) -> Tensor:
        """Outputs [batch, num_outputs]."""
        outputs: Tensor = self.mlp(self.norm(self.pooled(features_)))
        return outputs

    def output_layers(self) -> list[nn.Linear]:
        """The MLP's last layer: the dropout behind it is off."""
        last = self.mlp.fc2
        assert isinstance(last, nn.Linear)
        return [last]


@register_head(
    "attention_pool",
    description="norm, one learned query attends to all tokens, MLP, linear layer",
    source="timm's AttentionPoolLatent (SigLIP, 2023, arXiv 2303.15343)",
)
class AttentionPoolHead(ExitHead):
    """LayerNorm, attention pooling over class and patch tokens, LayerNorm, Linear.

    Args:
        num_heads: attention heads; None takes 8 where they divide the channels, and otherwise the largest divisor
            below that leaves 16 channels or more to each head.
        mlp_ratio: hidden width of the pool's MLP over the channels.
    """

    def __init__(
        self,
        placement: Placement,
        num_outputs: int,
        *,
        num_heads: Count | None = None,
        mlp_ratio: Ratio = 4.0,
    ) -> None:
        super().__init__(placement, num_outputs)
        channels = placement.channels
        self.norm = LayerNorm(channels)
        self.pool = AttentionPoolLatent(
            channels,
            num_heads=attention_heads(placement, num_heads, most=8),
            mlp_ratio=mlp_ratio,
            norm_layer=LayerNorm,
        )
        self.fc = nn.Linear(channels, num_outputs)

    def forward(self, features_: Tensor) -> Tensor:
        """Outputs [batch, num_outputs]."""
        x = self.norm(features.all_tokens(features_, self.placement))  # [batch, tokens, channels]
        outputs: Tensor = self.fc(self.pool(x))
        return outputs

    def output_layers(self) -> list[nn.Linear]:
        """The last layer."""
        return [self.fc]


@register_head(
    "conv",
    description="strided 3x3 convolutions with batch norm, mean, one linear layer",
    source="the classic CNN exit, here as in MSDNet (2018, arXiv 1703.09844)",
    needs=("grid",),
)
class ConvHead(ExitHead):
    """`layers` times (3x3 convolution of stride 2, BatchNorm, ReLU), mean over the map, Linear.

    Args:
        width: filters of each convolution (128 in MSDNet).
        layers: number of convolutions (2 in MSDNet).
    """

    def __init__(
        self,
        placement: Placement,
        num_outputs: int,
        *,
        width: Count = 128,
        layers: Annotated[int, Field(ge=1, le=8)] = 2,
    ) -> None:
        super().__init__(placement, num_outputs)
        sizes = [placement.channels] + [width] * layers
        self.convs = nn.Sequential(
            *(ConvNormAct(sizes[i], sizes[i + 1], kernel_size=3, stride=2, padding=1) for i in range(layers))
        )
        self.fc = nn.Linear(width, num_outputs)

    def forward(self, features_: Tensor) -> Tensor:
        """Outputs [batch, num_outputs]."""
        x = self.convs(features.feature_map(features_, self.placement))  # [batch, width, h / 4, w / 4]
        outputs: Tensor = self.fc(x.mean((2, 3)))
        return outputs

    def output_layers(self) -> list[nn.Linear]:
        """The last layer."""
        return [self.fc]
