"""ExitHead: from the features at a placement to outputs. The types that head options are declared with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from exitsearch.errors import UnsupportedError
from exitsearch.specs.placement import Placement

# Options are the keyword arguments of a head type. Their types and ranges are checked from these annotations.
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Ratio = Annotated[float, Field(gt=0)]


class ExitHead(nn.Module, ABC):
    """An exit head. Subclasses read the features with the functions of `exitsearch.models.features`.

    A constructor raises UnsupportedError where the placement cannot carry the head for a reason that its declared
    needs do not cover.

    Attributes:
        placement: where the head stands.
        num_outputs: classes, or regression targets.
    """

    def __init__(self, placement: Placement, num_outputs: int) -> None:
        super().__init__()
        self.placement = placement
        self.num_outputs = num_outputs

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Outputs [batch, num_outputs] from the raw features in the placement's layout."""

    def decay_parameters(self) -> list[nn.Parameter]:
        """The weights under an L2 penalty in training: those with two axes or more, unless a head says otherwise."""
        return [parameter for parameter in self.parameters() if parameter.ndim >= 2]

    def extra_repr(self) -> str:
        """Placement and number of outputs, in `print(head)`."""
        return f"placement={self.placement.index}, num_outputs={self.num_outputs}"


def attention_heads(placement: Placement, asked: int | None, *, most: int) -> int:
    """The number of attention heads for the channels of a placement.

    Args:
        placement: where the attention runs.
        asked: the user's number; None leaves it to the rule.
        most: the number of the paper, taken where it divides the channels; otherwise the largest divisor not above
            it that leaves 16 channels or more to each head (1 when there is none).

    Raises:
        UnsupportedError: when the user's number does not divide the channels.
    """
    channels = placement.channels
    if asked is not None:
        if channels % asked:
            raise UnsupportedError(
                f"num_heads must divide the {channels} channels of placement {placement.index}, found {asked}; "
                "choose a divisor, or leave the option out"
            )
        return asked
    if channels % most == 0:
        return most
    return max(n for n in range(1, most + 1) if channels % n == 0 and (channels // n >= 16 or n == 1))


def init_like_keras(module: nn.Module) -> None:
    """Glorot-uniform weights and zero biases in every linear and convolution layer of a module.

    The papers' models are written in Keras, where this is the default; torch's own default starts narrower.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
