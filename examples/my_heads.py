"""An exit head of one's own, in one file.

    exitsearch list heads --plugin examples/my_heads.py
    exitsearch search --plugin examples/my_heads.py --heads linear,gated_mean --budget-dist uniform:10%,100%

To test it, inherit `exitsearch.testing.HeadConformance` with `head = "gated_mean"`.
"""

import torch
from torch import Tensor, nn

from exitsearch.models import features
from exitsearch.models.heads import ExitHead, register_head
from exitsearch.specs.placement import Placement


@register_head(
    "gated_mean",
    description="mean over the grid, each cell weighted by a learned gate",
    source="this example",
    needs=("grid",),
)
class GatedMean(ExitHead):
    """LayerNorm, a gate for every cell, weighted mean, Linear. Options are keyword arguments with a default."""

    def __init__(self, placement: Placement, num_outputs: int, *, dropout: float = 0.0) -> None:
        super().__init__(placement, num_outputs)
        self.norm = nn.LayerNorm(placement.channels)
        self.gate = nn.Linear(placement.channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(placement.channels, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [batch, num_outputs], from tokens or maps alike."""
        cells = self.norm(features.patch_tokens(x, self.placement))  # [batch, cells, channels]
        weights = torch.sigmoid(self.gate(cells))  # [batch, cells, 1]
        pooled = (cells * weights).sum(1) / weights.sum(1)
        return self.fc(self.dropout(pooled))
