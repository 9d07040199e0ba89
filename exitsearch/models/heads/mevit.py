"""The seven heads of "Multi-Exit Vision Transformer for Dynamic Inference" (BMVC 2021, arXiv 2106.15183).

All read the raw block output and end in the same `Tail`. Without a class token the mean over the patch tokens stands
in for it. Of several prefix tokens the first is the class token; the others reach only `vit_ee`, which attends to all
that the backbone's own next block would.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from timm.layers.mlp import Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from exitsearch.models import features
from exitsearch.models.heads.base import Count, ExitHead, Rate, Ratio, attention_heads, init_like_keras
from exitsearch.models.heads.registry import register_head
from exitsearch.models.heads.tail import Tail
from exitsearch.specs.placement import Placement

SOURCE = "Multi-Exit Vision Transformer for Dynamic Inference (2021, arXiv 2106.15183)"

# Of the paper's LayerNorms, as of its ViT backbone.
_EPS = 1e-6


class TailHead(ExitHead):
    """A head that ends in a `Tail`; only the tail's weights are under an L2 penalty."""

    tail: Tail

    def decay_parameters(self) -> list[nn.Parameter]:
        """The three weights of the tail."""
        return self.tail.decay_parameters()

    def output_layers(self) -> list[nn.Linear]:
        """The tail's last layer."""
        return [self.tail.fc3]


@register_head("mlp_ee", description="norm, class token, three-layer MLP", source=SOURCE)
class MlpEE(TailHead):
    """LayerNorm, class token, tail. The paper's lightest head."""

    def __init__(self, placement: Placement, num_outputs: int, *, hidden: Count = 256, dropout: Rate = 0.5) -> None:
        super().__init__(placement, num_outputs)
        self.norm = nn.LayerNorm(placement.channels, eps=_EPS)
        self.tail = Tail(placement.channels, num_outputs, hidden=hidden, dropout=dropout)

    def forward(self, features_: Tensor) -> Tensor:
        """Outputs [batch, num_outputs]."""
        # The norm acts on each token alone: taking the class token first gives the same and costs one token's norm.
        outputs: Tensor = self.tail(self.norm(features.class_token(features_, self.placement)))
        return outputs


class _CnnEE(TailHead):
    """The grid as a map; 3x3 convolution, ELU, max pool 2, tail. An odd last row or column is not pooled in.

    An axis of one cell is left as it is: pooling it away would leave nothing.
    """

    # How many values the convolution sees of each channel.
    _maps: ClassVar[int] = 1

    def __init__(
        self,
        placement: Placement,
        num_outputs: int,
        *,
        filters: Count = 16,
        hidden: Count = 256,
        dropout: Rate = 0.5,
    ) -> None:
        super().__init__(placement, num_outputs)
        height, width = placement.grid
        window = (min(2, height), min(2, width))
        self.conv = nn.Conv2d(self._maps * placement.channels, filters, kernel_size=3, padding=1)
        self.act = nn.ELU()
        self.pool = nn.MaxPool2d(window)
        init_like_keras(self.conv)
        pooled = (height // window[0]) * (width // window[1])
        self.tail = Tail(pooled * filters, num_outputs, hidden=hidden, dropout=dropout)

    def forward(self, features_: Tensor) -> Tensor:
        """Outputs [batch, num_outputs]."""
        x = self.pool(self.act(self.conv(self.input_map(features_))))  # [batch, filters, h // 2, w // 2]
        outputs: Tensor = self.tail(x.flatten(1))
        return outputs

    def input_map(self, features_: Tensor) -> Tensor:
        """What the convolution sees [batch, _maps * channels, h, w]."""
        return features.feature_map(features_, self.placement)

    def token_map(self, features_: Tensor) -> Tensor:
        """The class token, for every cell [batch, channels, 1, 1]."""
        return features.class_token(features_, self.placement)[:, :, None, None]


@register_head(
    "cnn_ignore_ee",
    description="convolution over the patch tokens, no class token",
    source=SOURCE,
    needs=("grid",),
)
class CnnIgnoreEE(_CnnEE):
    """The convolutional head without the class token."""


@register_head(
    "cnn_add_ee", description="class token added to every patch token, then convolution", source=SOURCE, needs=("grid",)
)
class CnnAddEE(CnnIgnoreEE):
    """The convolutional head with the class token added to every cell."""

    def input_map(self, features_: Tensor) -> Tensor:
        """Map plus class token [batch, channels, h, w]."""
        return super().input_map(features_) + self.token_map(features_)


@register_head(
    "cnn_project_ee",
    description="class token concatenated to every patch token, then convolution",
    source=SOURCE,
    needs=("grid",),
)
class CnnProjectEE(_CnnEE):
    """The convolutional head with the class token concatenated to every cell on the channel axis."""

    _maps = 2

    def input_map(self, features_: Tensor) -> Tensor:
        """Map and class token side by side [batch, 2 * channels, h, w]."""
        cells = super().input_map(features_)
        token = self.token_map(features_).expand(-1, -1, *self.placement.grid)
        return torch.cat((cells, token), dim=1)


@register_head("vit_ee", description="one transformer block like the backbone's, norm, class token", source=SOURCE)
class VitEE(TailHead):
    """Transformer block, LayerNorm, class token, tail.

    Args:
        num_heads: attention heads; None takes the paper's 12 where they divide the channels, and otherwise the
            largest divisor below that leaves 16 channels or more to each head.
        mlp_ratio: hidden width of the block's MLP over the channels.
        block_dropout: dropout inside the block.
    """

    def __init__(
        self,
        placement: Placement,
        num_outputs: int,
        *,
        num_heads: Count | None = None,
        mlp_ratio: Ratio = 4.0,
        block_dropout: Rate = 0.1,
        hidden: Count = 256,
        dropout: Rate = 0.5,
    ) -> None:
        super().__init__(placement, num_outputs)
        channels = placement.channels
        self.block = Block(
            channels,
            num_heads=attention_heads(placement, num_heads, most=12),
            mlp_ratio=mlp_ratio,
            qkv_bias=True,
            proj_drop=block_dropout,
        )
        self.norm = nn.LayerNorm(channels, eps=_EPS)
        init_like_keras(self.block)
        self.tail = Tail(channels, num_outputs, hidden=hidden, dropout=dropout)

    def forward(self, features_: Tensor) -> Tensor:
        """Outputs [batch, num_outputs]."""
        x = self.block(features.sequence(features_, self.placement))  # [batch, tokens, channels]
        token = x[:, 0] if self.placement.class_token else x[:, self.placement.prefix_tokens :].mean(1)
        outputs: Tensor = self.tail(self.norm(token))
        return outputs


@register_head("mlp_mixer_ee", description="one Mixer block over all tokens, mean", source=SOURCE)
class MlpMixerEE(TailHead):
    """Mixer block over class and patch tokens, mean over them, tail.

    Both norms act over the token axis, as in the authors' code (the Mixer paper norms channels).

    Args:
        token_hidden: hidden width of the MLP across tokens.
        mlp_ratio: hidden width of the MLP across channels over the channels.
    """

    def __init__(
        self,
        placement: Placement,
        num_outputs: int,
        *,
        token_hidden: Count = 384,
        mlp_ratio: Ratio = 4.0,
        hidden: Count = 256,
        dropout: Rate = 0.5,
    ) -> None:
        super().__init__(placement, num_outputs)
        channels, tokens = placement.channels, features.all_token_count(placement)
        self.token_norm = nn.LayerNorm(tokens, eps=_EPS)
        self.token_mlp = Mlp(tokens, token_hidden)
        self.channel_norm = nn.LayerNorm(tokens, eps=_EPS)
        self.channel_mlp = Mlp(channels, _width(channels, mlp_ratio))
        init_like_keras(self)
        self.tail = Tail(channels, num_outputs, hidden=hidden, dropout=dropout)

    def forward(self, features_: Tensor) -> Tensor:
        """Outputs [batch, num_outputs]."""
        x = features.all_tokens(features_, self.placement).transpose(1, 2)  # [batch, channels, tokens]
        x = x + self.token_mlp(self.token_norm(x))
        x = x + self.channel_mlp(self.channel_norm(x).transpose(1, 2)).transpose(1, 2)
        outputs: Tensor = self.tail(x.mean(2))
        return outputs


class Affine(nn.Module):
    """Scale (from 1) and shift (from 0) of every channel: ResMLP's stand-in for a norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input [..., channels]."""
        return x * self.scale + self.shift


@register_head("resmlp_ee", description="one ResMLP block over all tokens, mean", source=SOURCE)
class ResMlpEE(TailHead):
    """ResMLP block over class and patch tokens, mean over them, tail.

    Each skip carries the affine's output, not its input, as in the authors' code.

    Args:
        mlp_ratio: hidden width of the MLP across channels over the channels.
    """

    def __init__(
        self,
        placement: Placement,
        num_outputs: int,
        *,
        mlp_ratio: Ratio = 4.0,
        hidden: Count = 256,
        dropout: Rate = 0.5,
    ) -> None:
        super().__init__(placement, num_outputs)
        channels, tokens = placement.channels, features.all_token_count(placement)
        self.affine1 = Affine(channels)
        self.token_linear = nn.Linear(tokens, tokens)
        self.scale1 = nn.Parameter(torch.ones(channels))
        self.affine2 = Affine(channels)
        self.channel_mlp = Mlp(channels, _width(channels, mlp_ratio))
        self.scale2 = nn.Parameter(torch.ones(channels))
        init_like_keras(self)
        self.tail = Tail(channels, num_outputs, hidden=hidden, dropout=dropout)

    def forward(self, features_: Tensor) -> Tensor:
        """Outputs [batch, num_outputs]."""
        x = self.affine1(features.all_tokens(features_, self.placement))  # [batch, tokens, channels]
        x = x + self.scale1 * self.token_linear(x.transpose(1, 2)).transpose(1, 2)
        x = self.affine2(x)
        x = x + self.scale2 * self.channel_mlp(x)
        outputs: Tensor = self.tail(x.mean(1))
        return outputs


def _width(channels: int, ratio: float) -> int:
    return max(1, round(channels * ratio))
