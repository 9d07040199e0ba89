"""ExitHead: from the features at a placement to outputs. The types that head options are declared with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from exitsearch.errors import UnsupportedError
from exitsearch.specs.placement import Placement
from exitsearch.specs.side import Size, side_text

# Options are the keyword arguments of a head type. Their types and ranges are checked from these annotations.
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Ratio = Annotated[float, Field(gt=0)]


class OutputScale(nn.Module):
    """Scale and shift of a head's outputs: what stands behind a head whose last layer cannot take them up.

    Args:
        num_outputs: classes, or regression targets.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(num_outputs))
        self.register_buffer("shift", torch.zeros(num_outputs))

    def forward(self, outputs: Tensor) -> Tensor:
        """Same shape as the input [batch, num_outputs]."""
        return outputs * self.scale + self.shift


_OUTPUT_SCALE = "output_scale"


def _apply_output_scale(head: nn.Module, arguments: object, outputs: Tensor) -> Tensor:
    """The forward hook of a head that has an `OutputScale`; a function of the module, so that copies use their own."""
    scaled: Tensor = head.get_submodule(_OUTPUT_SCALE)(outputs)
    return scaled


class ExitHead(nn.Module, ABC):
    """An exit head. Subclasses read the features with the functions of `exitsearch.models.features`.

    A constructor raises UnsupportedError where the placement cannot carry the head for a reason that its declared
    needs do not cover.

    A head trained on standardised targets answers in their own unit afterwards: an affine of its outputs is folded
    into `output_layers()`, or else kept in an `OutputScale`, which its weights then hold and which loading them brings
    back.

    A head that reads side inputs says so in its constructor, one by one (`size = self.read_side("audio")`), and gets
    them in its forward by name: `forward(features, **side)`, each [batch, channels, height, width]. What it does with
    them is its own work, and its cost: nothing is shared between exits.

    Attributes:
        placement: where the head stands.
        num_outputs: classes, or regression targets.
        reads: size of each side input that it reads, by name; empty for most heads.
    """

    def __init__(self, placement: Placement, num_outputs: int) -> None:
        super().__init__()
        self.placement = placement
        self.num_outputs = num_outputs
        self.reads: dict[str, Size] = {}

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Outputs [batch, num_outputs] from the raw features in the placement's layout.

        Those that read side inputs take them as keywords too: `forward(self, features, **side)`.
        """

    def read_side(self, name: str) -> Size:
        """Declare that this head reads a side input of the model; for constructors.

        Returns:
            Its (channels, height, width).

        Raises:
            UnsupportedError: the model has none of that name.
        """
        known = self.placement.side_inputs
        if name not in known:
            raise UnsupportedError(
                f"{type(self).__name__} reads the side input {name!r}, and the side inputs of the model are: "
                f"{side_text(known)}; declare it with --side {name}=CHANNELSxHEIGHTxWIDTH, or leave that head out"
            )
        self.reads[name] = known[name]
        return known[name]

    def decay_parameters(self) -> list[nn.Parameter]:
        """The weights under an L2 penalty in training: those with two axes or more, unless a head says otherwise."""
        return [parameter for parameter in self.parameters() if parameter.ndim >= 2]

    def output_layers(self) -> list[nn.Linear]:
        """The layers that an affine of the outputs can be folded into; empty where the head names none.

        Scaling and shifting what each of them gives must scale and shift the head's outputs alike: the last linear
        layer, or several whose answers are averaged. Each needs a bias.
        """
        return []

    def body_reader(self) -> nn.Module | None:
        """The layer whose first input is the head's body: what losses compare between exits.

        The first of the last layers, unless a head says otherwise; None where it names none.
        """
        layers = self.output_layers()
        return layers[0] if layers else None

    def attach_output_scale(self) -> OutputScale:
        """Put an `OutputScale` behind the outputs; one that is there stays."""
        if _OUTPUT_SCALE not in self._modules:
            weight = next(self.parameters(), torch.empty(0))
            self.add_module(_OUTPUT_SCALE, OutputScale(self.num_outputs).to(weight.device, weight.dtype))
            self.register_forward_hook(_apply_output_scale)
        found = self.get_submodule(_OUTPUT_SCALE)
        assert isinstance(found, OutputScale)
        return found

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """torch's own, which meets the tensors of an `OutputScale` before it looks for a place for them."""
        if f"{prefix}{_OUTPUT_SCALE}.scale" in state_dict:
            self.attach_output_scale()
        super()._load_from_state_dict(state_dict, prefix, *rest)

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
