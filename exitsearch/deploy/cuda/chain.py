"""Chain: the units of a multi-exit model over static buffers of one batch size.

    staging -> x -> segment 0 -> state 0 -> segment 1 -> state 1 -> ... -> last segment -> outputs
    (pinned)                       |                       |                                 |
                                 head 0                  head 1                              |
                                   |                       |                                 |
                               answers 0               answers 1                         answers m   (pinned)

Each unit reads the very tensors that the one before it writes, so nothing is copied between them. Nothing here waits:
what is handed over runs in order, and the event behind each answer tells when that answer is on the host.

A unit's scratch memory may be used again by units that are recorded after it, in this chain or in one of another batch
size: passes run one at a time, each in the order of the recording.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exitsearch.deploy.cuda.device import Device, Event
from exitsearch.deploy.units import GraphUnit, GraphUnits
from exitsearch.models.backbone import State
from exitsearch.runtime.graphs import NO_SIDE

Arrays = NDArray[Any]


class Chain:
    """Units, made ready for one batch size.

    Args:
        units: of the model.
        device: that they run on.
        batch_size: inputs at once.

    Attributes:
        batch_size: inputs at once.
        movable: whether a state's rows can be told apart, so that some of them may go on in a smaller chain.
        started: the event before the first work of a pass.
    """

    def __init__(self, units: GraphUnits, device: Device, *, batch_size: int) -> None:
        self.batch_size = batch_size
        self.movable = all(len(axes) <= 1 for unit in units.segments for axes in unit.axes)
        self._units, self._device = units, device
        self._buffers: dict[str, Tensor] = {}
        self._given = _given(units)
        self._staging = {name: device.pinned(batch_size, *one.shape[1:]) for name, one in self._given.items()}
        # Kept in single precision whatever the model computes in: the graphs that read them convert.
        self._buffers = {name: device.buffer(*staged.shape) for name, staged in self._staging.items()}
        self._rows = device.pinned(batch_size, dtype=torch.int64), device.buffer(batch_size, dtype=torch.int64)
        self._segments: list[Callable[[], None]] = []
        self._heads: list[Callable[[], None]] = []
        self._outputs: list[Tensor] = []
        with device.current():
            self._record()
            device.drain()
        self._answers = [device.pinned(*outputs.shape) for outputs in self._outputs]
        self.started, self._answered = device.event(), [device.event() for _ in self._outputs]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """What `begin` takes, a whole batch of each by name, the input first."""
        return {name: tuple(staged.shape) for name, staged in self._staging.items()}

    def begin(self, x: Arrays, side: Mapping[str, Arrays] = NO_SIDE) -> None:
        """Hand inputs over [rows, channels, height, width], at most as many as the batch has; the rest are zeros."""
        self._device.mark(self.started)
        for name, array in ((self._units.segments[0].inputs[0], x), *side.items()):
            staged = self._staging[name]
            numbers = staged.numpy()
            numbers[: len(array)] = array
            numbers[len(array) :] = 0
            self._buffers[name].copy_(staged, non_blocking=True)

    def segment(self, position: int) -> None:
        """Hand a segment over."""
        self._segments[position]()

    def ask(self, position: int) -> Event:
        """Hand over the head of an exit and the copy of its answer; the event behind both."""
        if position < len(self._heads):
            self._heads[position]()
        self._answers[position].copy_(self._outputs[position], non_blocking=True)
        event = self._answered[position]
        self._device.mark(event)
        return event

    def answer(self, position: int) -> Arrays:
        """What stands in an exit's answer [batch, num_outputs], once its event is done: a copy."""
        return self._answers[position].numpy().copy()

    def take(self, position: int, other: Chain, rows: Arrays) -> None:
        """Go on behind a segment with some rows of another chain's state."""
        staged, index = self._rows
        staged.zero_()
        staged[: len(rows)] = torch.from_numpy(rows.astype(np.int64))
        index.copy_(staged, non_blocking=True)
        following = self._units.segments[position + 1]
        kept = dict(zip(following.inputs, following.axes, strict=True))
        kept |= {name: {0: "batch"} for name in self._given if name not in self._units.segments[0].inputs}
        for name, axes in kept.items():
            _take_rows(self._buffers[name], other._buffers[name], axes, index)

    def _record(self) -> None:
        last = len(self._units.segments) - 1
        for position, unit in enumerate(self._units.segments):
            replay, state = self._device.record(unit.name, self._runner(unit, answers=position == last))
            self._segments.append(replay)
            if position == last:
                self._outputs.append(state[0])
                return
            self._buffers |= zip(unit.outputs, state, strict=True)
            head = self._units.heads[position]
            replay, outputs = self._device.record(head.name, self._runner(head, answers=True))
            self._heads.append(replay)
            self._outputs.append(outputs[0])

    def _runner(self, unit: GraphUnit, *, answers: bool) -> Callable[[], State]:
        inputs = [self._buffers[name] for name in unit.inputs]
        types = [self._given[name].dtype if name in self._given else None for name in unit.inputs]

        def run() -> State:
            pairs = zip(inputs, types, strict=True)
            state: State = unit.module(*(tensor if kind is None else tensor.to(kind) for tensor, kind in pairs))
            return tuple(tensor.float() for tensor in state) if answers else state

        return run


def _given(units: GraphUnits) -> dict[str, Tensor]:
    """What a request gives, by name, with an example: the input, and side inputs of heads."""
    made = {name for segment in units.segments for name in segment.outputs}
    every = (units.segments[0], *units.heads)
    return {
        name: example
        for unit in every
        for name, example in zip(unit.inputs, unit.example, strict=True)
        if name not in made
    }


def _take_rows(target: Tensor, source: Tensor, axes: Mapping[int, str], index: Tensor) -> None:
    """Copy some inputs' share of a tensor; all of it where no axis follows the batch."""
    if not axes:
        target.copy_(source)
        return
    (axis,) = axes
    size = len(index)
    # A batch of windows has several entries for each input, one input after the other.
    times = target.shape[axis] // size
    before, after = target.shape[:axis], target.shape[axis + 1 :]
    rows = source.view(*before, -1, times, *after).index_select(axis, index)
    target.view(*before, size, times, *after).copy_(rows)
