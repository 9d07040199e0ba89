"""What becomes a graph: the parts of a multi-exit model between its chosen exits, each one module over named tensors.

    x -> segment_0 -> features_0, carried_0_1, ... -> segment_1 -> features_1, ... -> segment_2 -> outputs
                          |                                            |
                        head_0 -> outputs                  audio ->  head_1 -> outputs

A head that reads side inputs takes them under their own names beside the features; segments never see them.

Placements that were not chosen are no border: what lies between two chosen exits is one graph, so that an engine joins
operators across them and nothing is handed over there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from exitsearch.deploy.given import INPUT as INPUT
from exitsearch.errors import UnsupportedError
from exitsearch.models.backbone import FinalSegment, Segment, State
from exitsearch.models.heads import ExitHead
from exitsearch.models.multi_exit import MultiExitModel
from exitsearch.specs.side import Size

OUTPUT = "outputs"

# Two sizes tell which axes follow the batch. Above 1, which torch.export takes for a fixed size.
_BATCHES = (2, 3)


@dataclass(frozen=True)
class GraphUnit:
    """One graph to be.

    Attributes:
        name: of its file, without the ending.
        module: from tensors to a tuple of tensors.
        inputs: names of what it takes.
        outputs: names of what it gives.
        example: its arguments for a batch of 2.
        axes: for each argument, the axes that follow the batch, with a name each.
    """

    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    example: State
    axes: tuple[dict[int, str], ...]


class FusedSegment(nn.Module):
    """Segments one after the other, from the state before the first to the state behind the last.

    Args:
        segments: in order; the last may be the final part.
    """

    def __init__(self, segments: Sequence[Segment | FinalSegment]) -> None:
        super().__init__()
        self.segments = nn.ModuleList(segments)

    def forward(self, *state: Tensor) -> State:
        """The state behind the last segment; behind the final part the outputs alone."""
        for segment in self.segments:
            following = segment(state)
            state = following if isinstance(following, tuple) else (following,)
        return state


class _OneOutput(nn.Module):
    """A module with one output as one with a tuple of outputs.

    Args:
        module: takes one tensor, and side inputs by name.
        side: names of the latter, in the order in which they come.
    """

    def __init__(self, module: nn.Module, side: Sequence[str] = ()) -> None:
        super().__init__()
        self.module = module
        self.side = tuple(side)

    def forward(self, *inputs: Tensor) -> State:
        return (self.module(inputs[0], **dict(zip(self.side, inputs[1:], strict=True))),)


@dataclass(frozen=True)
class GraphUnits:
    """Everything of a model that becomes a graph.

    Attributes:
        segments: one for each chosen exit, and last the final part.
        heads: one for each chosen exit.
        whole: the plain backbone, for comparison; it is no part of a bundle.
    """

    segments: tuple[GraphUnit, ...]
    heads: tuple[GraphUnit, ...]
    whole: GraphUnit


def divide(model: MultiExitModel) -> GraphUnits:
    """Divide a model, in eval mode on the CPU, at its chosen exits.

    Raises:
        UnsupportedError: an axis of a carried tensor follows the batch in no plain way, or a side input has the name of
            another tensor.
    """
    backbone = model.backbone
    generator = torch.Generator().manual_seed(0)
    states: list[State] = [(backbone.example_input(size, generator=generator),) for size in _BATCHES]
    side = [backbone.example_side(size, generator=generator) for size in _BATCHES]
    whole = _unit("whole", _OneOutput(backbone.module), (INPUT,), (OUTPUT,), states)
    segments, heads, start = [], [], 0
    names: tuple[str, ...] = (INPUT,)
    for number, (exit_, head) in enumerate(zip(model.config.exits, model.heads, strict=True)):
        fused = FusedSegment(backbone.segments[start : exit_.placement + 1])
        following = _following(fused, states)
        given = (f"features_{number}", *(f"carried_{number}_{index}" for index in range(1, len(following[0]))))
        segments.append(_unit(f"segment_{number}", fused, names, given, states))
        states, names, start = following, given, exit_.placement + 1
        reads = _reads(head)
        read = [(state[0], *(beside[name] for name in reads)) for state, beside in zip(states, side, strict=True)]
        heads.append(_unit(f"head_{number}", _OneOutput(head, reads), (given[0], *reads), (OUTPUT,), read))
    last = FusedSegment([*backbone.segments[start:], backbone.final])
    segments.append(_unit(f"segment_{len(heads)}", last, names, (OUTPUT,), states))
    _check_names(side_inputs_of(model), segments)
    return GraphUnits(tuple(segments), tuple(heads), whole)


def side_inputs_of(model: MultiExitModel) -> dict[str, Size]:
    """(channels, height, width) of the side inputs that the chosen heads read, by name."""
    read = {name for head in model.heads for name in _reads(head)}
    return {name: size for name, size in model.backbone.side_inputs.items() if name in read}


def _reads(head: nn.Module) -> tuple[str, ...]:
    return tuple(head.reads) if isinstance(head, ExitHead) else ()


def _check_names(side: Mapping[str, Size], segments: Sequence[GraphUnit]) -> None:
    taken = {INPUT, *(name for segment in segments for name in segment.outputs)}
    if clash := sorted(taken & set(side)):
        raise UnsupportedError(
            f"a side input must not have the name of a tensor that segments hand on, as {clash[0]} here; declare it "
            "under another name (--side-inputs) and train again"
        )


def _following(module: nn.Module, states: Sequence[State]) -> list[State]:
    with torch.inference_mode():
        return [module(*state) for state in states]


def _unit(
    name: str, module: nn.Module, inputs: tuple[str, ...], outputs: tuple[str, ...], states: Sequence[State]
) -> GraphUnit:
    # torch.export takes no tensors that were made under inference mode.
    example = tuple(tensor.clone() for tensor in states[0])
    axes = tuple(_axes(name, small, large) for small, large in zip(*states, strict=True))
    return GraphUnit(name, module.eval(), inputs, outputs, example, axes)


def _axes(name: str, small: Tensor, large: Tensor) -> dict[int, str]:
    """The axes whose length follows the batch: the batch itself, or so many times it (windows)."""
    found: dict[int, str] = {}
    for axis, (a, b) in enumerate(zip(small.shape, large.shape, strict=True)):
        if a == b:
            continue
        times, rest = divmod(a, _BATCHES[0])
        if rest or b != times * _BATCHES[1]:
            raise UnsupportedError(
                f"{name} takes a tensor of which axis {axis} has {a} for a batch of {_BATCHES[0]} and {b} for one of "
                f"{_BATCHES[1]}; only multiples of the batch can be exported: choose exits at other placements"
            )
        found[axis] = "batch" if times == 1 else f"batch_times_{times}"
    return found
