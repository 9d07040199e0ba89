"""Adapters: a backbone that learns by small low-rank additions to its weights, which are folded in at the end.

    attach_adapters(backbone, rank=8, seed=0)
    ...                              # train adapter_parameters(backbone) and the heads; nothing else moves
    merge_adapters(backbone)         # an ordinary backbone again, that answers as trained

A weight W of a linear layer or convolution, seen as a matrix [outputs, inputs], becomes W + up @ down, with `up` all
zeros at first: the backbone begins as it was, bit for bit. All exits share the adapters of the blocks before them, in
the spirit of Multiple-Exit Tuning (2024, arXiv 2409.13999), which shares its adapters' projections between exits; the
form is LoRA's (2021, arXiv 2106.09685), since it leaves nothing behind that a deployed model would pay for.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.amp import is_autocast_available
from torch.nn.utils import parametrize

from exitsearch.errors import InputError
from exitsearch.models.backbone import Backbone


class LowRank(nn.Module):
    """W + up @ down, for a weight W [outputs, inputs, ...].

    A parametrisation of the weight and not a module beside the layer: so it is seen however the layer's weight is used,
    also by a block that reads it for a computation of its own (a fused attention).

    Args:
        weight: what is added to; gives shape, dtype and device.
        rank: of the addition.
        order: names of the layer's parameters, in their order.
        generator: draws `down`, on the CPU.
    """

    def __init__(self, weight: Tensor, *, rank: int, order: tuple[str, ...], generator: torch.Generator) -> None:
        super().__init__()
        self.order = order
        rows, columns = _matrix(weight)
        # Uniform with variance 1 / (3 inputs), as LoRA's code draws it.
        bound = 1 / math.sqrt(columns)
        drawn = (torch.rand(rank, columns, generator=generator) * 2 - 1) * bound
        self.down = nn.Parameter(drawn.to(weight.device, weight.dtype))
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device, dtype=weight.dtype))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with its addition, in its shape."""
        # In the weight's own precision under autocast too: what is merged is then what was trained. The meta device,
        # on which a model is traced, knows no autocast.
        device = weight.device.type
        with torch.autocast(device, enabled=False) if is_autocast_available(device) else nullcontext():
            return weight + (self.up @ self.down).reshape(weight.shape)


def attach_adapters(backbone: Backbone, *, rank: int, seed: int = 0) -> list[str]:
    """Put adapters on the linear layers and convolutions of a backbone, its final classifier left out.

    Left out too: depthwise and grouped convolutions, layers so small that an adapter would be larger than they are,
    weights that several layers share, and weights that are used outside of a layer.

    Args:
        backbone: changed in place; its answers stay the same, bit for bit.
        rank: of the adapters, at least 1.
        seed: of their initial weights.

    Returns:
        Names of the adapted layers in `backbone.module`.

    Raises:
        InputError: a rank below 1, adapters that are there already, or no layer that could have one.
    """
    if rank < 1:
        raise InputError(f"adapters have a rank of at least 1, found {rank}; give a whole number from 1")
    if _adapted(backbone):
        raise InputError("the backbone has adapters already; merge them first (merge_adapters)")
    found = _adaptable(backbone, rank)
    if not found:
        raise InputError(
            f"{backbone.facts.name} has no linear layer or convolution that adapters of rank {rank} would be smaller "
            "than; take a smaller rank, or train all weights"
        )
    for name, layer in found.items():
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/adapter/{name}".encode()))
        adapter = LowRank(layer.weight, rank=rank, order=tuple(layer._parameters), generator=generator)
        parametrize.register_parametrization(layer, "weight", adapter)
    backbone.segments[0].cut.forget_training()
    return list(found)


def adapter_parameters(backbone: Backbone) -> list[nn.Parameter]:
    """The weights of the adapters, in the order of the layers; empty where there are none."""
    return [weight for layer in _adapted(backbone) for weight in _adapter_of(layer).parameters()]


@torch.no_grad()
def merge_adapters(backbone: Backbone) -> None:
    """Fold the adapters into plain weights, under the names and in the order of before; nothing where there are none.

    The weights stay the same parameters, so that an optimiser that holds them goes on, and take no gradient or take one
    as they did.
    """
    for layer in _adapted(backbone):
        weight = layer.get_parameter("parametrizations.weight.original")
        weight.copy_(layer.get_submodule("parametrizations.weight")())
        order = _adapter_of(layer).order
        # By hand: torch's own removal takes the property away from the class, which copies of the model (a moving
        # average) share with it.
        del layer.parametrizations
        layer.__class__ = type(layer).__bases__[0]
        layer.register_parameter("weight", weight)
        for name in order:
            layer._parameters[name] = layer._parameters.pop(name)
    backbone.segments[0].cut.forget_training()


def _adaptable(backbone: Backbone, rank: int) -> dict[str, nn.Linear | nn.Conv2d]:
    """The layers that get adapters, by their names."""
    users = Counter(id(weight) for _, weight in backbone.module.named_parameters(remove_duplicate=False))
    final = {id(part) for classifier in backbone.final_classifier() for part in classifier.modules()}
    # A program holds a weight itself, and not the layer, where a container's own forward uses it: an addition to the
    # layer would not be seen there.
    cut = backbone.segments[0].cut
    held = {id(weight) for program in cut.programs for weight in program.parameters(recurse=False)}
    found = {}
    for name, layer in backbone.module.named_modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d) or id(layer) in final or parametrize.is_parametrized(layer):
            continue
        rows, columns = _matrix(layer.weight)
        alone = users[id(layer.weight)] == 1 and id(layer.weight) not in held
        if alone and getattr(layer, "groups", 1) == 1 and rank * (rows + columns) < rows * columns:
            found[name] = layer
    return found


def _adapted(backbone: Backbone) -> list[nn.Module]:
    """The layers that have adapters."""
    layers = backbone.module.modules()
    return [layer for layer in layers if parametrize.is_parametrized(layer, "weight") and _has_adapter(layer)]


def _has_adapter(layer: nn.Module) -> bool:
    return isinstance(_first_parametrisation(layer), LowRank)


def _adapter_of(layer: nn.Module) -> LowRank:
    adapter = _first_parametrisation(layer)
    assert isinstance(adapter, LowRank)
    return adapter


def _first_parametrisation(layer: nn.Module) -> nn.Module:
    return layer.get_submodule("parametrizations.weight.0")


def _matrix(weight: Tensor) -> tuple[int, int]:
    """(outputs, inputs) of a weight [outputs, inputs, ...], a kernel's cells counted as inputs."""
    return weight.shape[0], weight[0].numel()
