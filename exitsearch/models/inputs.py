"""Inputs: a batch of a model with several named inputs, and how a head gets those that it reads.

A model without side inputs takes one tensor, and nothing here is met. One with side inputs takes them by name, or all
of them as `Inputs`, which is what a split of such data yields:

    model(images, audio=sounds)
    model(Inputs(x=images, audio=sounds))

`x` is what the backbone reads. `Inputs` is a dictionary of tensors, so torch's DataLoader collates and pins it, and
`model(**inputs)` is the same call as `model(inputs)`. Like every dictionary it has as many elements as names: a batch's
size is `batch_size(inputs)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

import torch
from torch import Tensor, nn

from exitsearch.errors import InputError
from exitsearch.specs.side import MAIN_INPUT, Size, side_text, size_text


class Inputs(dict[str, Tensor]):
    """Tensors [batch, ...] by name: `x`, and the side inputs."""

    @property
    def x(self) -> Tensor:
        """What the backbone reads."""
        return self[MAIN_INPUT]

    @property
    def side(self) -> dict[str, Tensor]:
        """The side inputs by name."""
        return {name: tensor for name, tensor in self.items() if name != MAIN_INPUT}

    def to(self, *where: Any, **options: Any) -> Inputs:
        """The same with every tensor on a device or in a dtype, as `Tensor.to` takes them."""
        return Inputs({name: tensor.to(*where, **options) for name, tensor in self.items()})

    def rows(self, chosen: Any) -> Inputs:
        """Some samples: a number, a slice, or a list of numbers."""
        return Inputs({name: tensor[chosen] for name, tensor in self.items()})

    def with_x(self, x: Tensor) -> Inputs:
        """The same side inputs beside another main input."""
        return Inputs(self, **{MAIN_INPUT: x})


# What a backbone, a multi-exit model and a trainer take as a batch.
Batch = Tensor | Inputs


def main_input(inputs: Batch) -> Tensor:
    """What the backbone reads of a batch [batch, channels, height, width]."""
    return inputs.x if isinstance(inputs, Inputs) else inputs


def side_inputs(inputs: Batch) -> dict[str, Tensor]:
    """The side inputs of a batch by name; none where it is one tensor."""
    return inputs.side if isinstance(inputs, Inputs) else {}


def batch_size(inputs: Batch) -> int:
    """How many samples a batch has."""
    return len(main_input(inputs))


@overload
def rows(inputs: Tensor, chosen: Any) -> Tensor: ...
@overload
def rows(inputs: Inputs, chosen: Any) -> Inputs: ...
def rows(inputs: Batch, chosen: Any) -> Batch:
    """Some samples of a batch: a number, a slice, or a list of numbers."""
    return inputs.rows(chosen) if isinstance(inputs, Inputs) else inputs[chosen]


def joined_inputs(parts: Sequence[Batch]) -> Batch:
    """Several batches of one kind as one."""
    first = parts[0]
    if isinstance(first, Inputs):
        together = [part for part in parts if isinstance(part, Inputs)]
        assert len(together) == len(parts)
        return Inputs({name: torch.cat([part[name] for part in together]) for name in first})
    return torch.cat([main_input(part) for part in parts])


def run_head(head: nn.Module, features: Tensor, side: Mapping[str, Tensor]) -> Tensor:
    """What a head answers to features and to those side inputs that it reads: [batch, num_outputs].

    Args:
        head: an `ExitHead`; any other module reads the features alone.
        features: at its placement.
        side: all side inputs of the batch, by name.

    Raises:
        InputError: one that it reads is not there, or is of another size.
    """
    reads: Mapping[str, Size] = getattr(head, "reads", {})
    if not reads:
        outputs: Tensor = head(features)
        return outputs
    for name, size in reads.items():
        if name not in side:
            raise InputError(
                f"{type(head).__name__} reads the side input {name}, which was not given; call the model with "
                f"{name}=... [batch, {', '.join(map(str, size))}] beside x"
            )
        if tuple(side[name].shape[1:]) != size:
            raise InputError(
                f"the side input {name} is [batch, {', '.join(map(str, size))}], found "
                f"{size_text(tuple(side[name].shape))}; prepare it as the model declares it"
            )
    outputs = head(features, **{name: side[name] for name in reads})
    return outputs


def gathered(x: Batch, side: Mapping[str, Tensor], *, declared: Mapping[str, Size]) -> Batch:
    """The inputs of one call of a model as one batch.

    Args:
        x: what the backbone reads, or all inputs.
        side: the side inputs that were given by name.
        declared: those of the model.

    Raises:
        InputError: one is given that the model does not have.
    """
    given = side_inputs(x) | dict(side)
    for name in given:
        if name not in declared:
            raise InputError(
                f"the model has no side input {name}; it has: {side_text(declared)}; "
                "leave it out, or declare it when the backbone is made"
            )
    return Inputs(given, **{MAIN_INPUT: main_input(x)}) if given else main_input(x)
