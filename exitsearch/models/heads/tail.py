"""Tail: the last layers that the heads of `mevit` and `slvit` share."""

from __future__ import annotations

from torch import Tensor, nn


class Tail(nn.Module):
    """Linear, ELU, dropout, Linear, ELU, dropout, Linear; He-normal weights and zero biases.

    Source: Multi-Exit Vision Transformer for Dynamic Inference (BMVC 2021, arXiv 2106.15183).

    Args:
        in_features: size of the input vector.
        num_outputs: classes, or regression targets.
        hidden: width of both hidden layers.
        dropout: share of hidden values dropped in training.
    """

    def __init__(self, in_features: int, num_outputs: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_features, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, num_outputs)
        self.act = nn.ELU()
        self.drop = nn.Dropout(dropout)
        for layer in (self.fc1, self.fc2, self.fc3):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [batch, num_outputs] from vectors [batch, in_features]."""
        x = self.drop(self.act(self.fc1(x)))
        x = self.drop(self.act(self.fc2(x)))
        outputs: Tensor = self.fc3(x)
        return outputs

    def decay_parameters(self) -> list[nn.Parameter]:
        """The three weights under an L2 penalty in the paper's training."""
        return [self.get_parameter(f"{layer}.weight") for layer in ("fc1", "fc2", "fc3")]
