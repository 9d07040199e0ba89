"""A simulated device for tests without a GPU: queues that run work in order, and a host that hands it over and waits.

    host    |launch|launch|event|launch|........ waits ........|return|launch| ...
    stream         |--kernel--|--kernel--||----kernel----|-copy-|     idle   |-kernel- ...

Only `Simulation` moves the time. It has the part of `torch.cuda` that the clock and the recorder of graphs use, with
the rules of CUDA that a measurement can trip over:

- Every device has a current stream, and work goes to the current stream of its tensors' device. Streams are ordered by
  `wait_stream` alone.
- An event stands in one stream, the current one of the *current device* unless another is named, and sees the work of
  that stream only. Times between events of two devices do not exist.
- A graph holds what was launched on the stream that captures, and is launched as one. Its first launch uploads it.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
from torch import nn

from exitsearch.specs.backbone import BackboneFacts
from exitsearch.specs.placement import Placement


@dataclass(frozen=True)
class Costs:
    """What things cost, in microseconds.

    Attributes:
        launch: of the host, for one kernel.
        graph_launch: of the host, for a whole graph.
        upload: of the host, for the first launch of a graph on top.
        event: of the host, to record an event.
        lookup: of the host, to find the current stream.
        copy: of the device, to copy an answer to the host.
        wait: of the host, from the end of what it waits for until it goes on.
        operation: of the device, for an operator on a small tensor.
    """

    launch: float = 9.0
    graph_launch: float = 9.0
    upload: float = 100.0
    event: float = 3.5
    lookup: float = 3.5
    copy: float = 2.0
    wait: float = 8.0
    operation: float = 2.0


@dataclass(eq=False)
class Stream:
    """A queue of one device."""

    simulation: Simulation
    device: int
    free_us: float = 0.0
    capturing: Graph | None = None

    def wait_stream(self, other):
        assert self.device == other.device
        self.free_us = max(self.free_us, other.free_us)


class Event:
    def __init__(self, simulation):
        self.simulation = simulation
        self.stream = None

    def record(self, stream=None):
        simulation = self.simulation
        self.stream = simulation.current_stream() if stream is None else stream
        assert self.stream.capturing is None
        simulation.spend(simulation.costs.event)
        self.at_us = max(self.stream.free_us, simulation.host_us)

    def elapsed_time(self, other):
        if self.stream.device != other.stream.device:
            raise RuntimeError("Event device type CUDA does not match the other's")
        return (other.at_us - self.at_us) / 1e3


@dataclass(eq=False)
class Graph:
    simulation: Simulation
    device: int = 0
    kernels_us: list[float] = field(default_factory=list)
    replays: int = 0

    def replay(self):
        costs = self.simulation.costs
        # Of the device that captured it, whichever is current.
        stream = self.simulation.streams[self.device]
        self.simulation.spend(costs.graph_launch + (0 if self.replays else costs.upload))
        self.replays += 1
        self.simulation.enqueue(stream, sum(self.kernels_us))


class Simulation:
    """Devices and the host's time; stands in for `torch.cuda`.

    Attributes:
        host_us: the host's time.
        streams: the current stream of each device.
        made_streams: every stream that was asked for.
        graphs: every graph.
        lookups: how often a current stream was looked up.
    """

    def __init__(self, costs=None, *, devices=1):
        self.costs = costs or Costs()
        self.host_us = 0.0
        self.current = 0
        self.streams = [Stream(self, device) for device in range(devices)]
        self.defaults = list(self.streams)
        self.made_streams = []
        self.graphs = []
        self.lookups = 0

    def now_ns(self):
        return round(self.host_us * 1e3)

    def spend(self, microseconds):
        """The host works."""
        self.host_us += microseconds

    def enqueue(self, stream, device_us):
        """The device works, once it has the work and has done what came before."""
        stream.free_us = max(stream.free_us, self.host_us) + device_us

    def launch(self, device_us, device):
        """One kernel on the current stream of a device."""
        stream = self.streams[device]
        self.spend(self.costs.launch)
        if stream.capturing is not None:
            stream.capturing.kernels_us.append(device_us)
        else:
            self.enqueue(stream, device_us)

    def copy_to_host(self, device):
        """A copy that the host waits for."""
        stream = self.streams[device]
        assert stream.capturing is None, "operation not permitted when stream is capturing"
        self.launch(self.costs.copy, device)
        self.host_us = max(self.host_us, stream.free_us) + self.costs.wait

    # The part of `torch.cuda` that is used.

    def _index(self, device):
        return self.current if device is None else torch.device(device).index

    def synchronize(self, device=None):
        ends = [
            stream.free_us for stream in (*self.defaults, *self.made_streams) if stream.device == self._index(device)
        ]
        self.host_us = max(self.host_us, *ends) + self.costs.wait

    def current_stream(self, device=None):
        self.spend(self.costs.lookup)
        self.lookups += 1
        return self.streams[self._index(device)]

    def Stream(self, device=None):
        self.made_streams.append(Stream(self, self._index(device)))
        return self.made_streams[-1]

    def Event(self, *, enable_timing):
        assert enable_timing
        return Event(self)

    def CUDAGraph(self):
        self.graphs.append(Graph(self))
        return self.graphs[-1]

    def graph_pool_handle(self):
        return (0, 1)

    @contextmanager
    def device(self, device):
        before, self.current = self.current, self._index(device)
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def stream(self, stream):
        device, current = self.current, self.streams[stream.device]
        self.current, self.streams[stream.device] = stream.device, stream
        try:
            yield
        finally:
            self.streams[stream.device], self.current = current, device

    @contextmanager
    def graph(self, graph, *, pool, stream=None):
        assert pool == self.graph_pool_handle()
        # Without a stream torch takes one that belongs to the device that was current at the very first capture.
        stream = self.Stream(torch.device("cuda", 0)) if stream is None else stream
        self.synchronize()
        graph.device = stream.device
        with self.stream(stream):
            stream.capturing = graph
            try:
                yield
            finally:
                stream.capturing = None


class DeviceTensor(torch.Tensor):
    """A small tensor of a simulated device: every operator on it is a kernel, and reading it waits."""

    @classmethod
    def made(cls, simulation, device, shape=(1, 4)):
        return _placed(torch.zeros(shape), simulation, device)

    @property
    def device(self):
        return torch.device("cuda", self.where)

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        mine = next(a for a in _flat(arguments) if isinstance(a, DeviceTensor))
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*arguments, **(options or {}))
        simulation, device = mine.simulation, mine.where
        if function.__name__ == "tolist":
            simulation.copy_to_host(device)
        in_place = function.__name__.endswith("_") and not function.__name__.endswith("__")
        if in_place:
            simulation.launch(simulation.costs.operation, device)
            return mine
        new = [part for part in _flat((result,)) if isinstance(part, torch.Tensor) and part is not mine]
        if not new:
            return result
        simulation.launch(simulation.costs.operation, device)
        placed = [_placed(part, simulation, device) for part in new]
        return placed[0] if isinstance(result, torch.Tensor) else tuple(placed)


def _flat(values):
    for value in values:
        if isinstance(value, tuple | list):
            yield from _flat(value)
        else:
            yield value


def _placed(tensor, simulation, device):
    tensor = tensor.as_subclass(DeviceTensor)
    tensor.simulation, tensor.where = simulation, device
    return tensor


class Unit(nn.Module):
    """A segment, head or final part: kernels of given times on the device of its input; gives back its input."""

    def __init__(self, simulation, kernels_us):
        super().__init__()
        self.simulation = simulation
        self.kernels_us = kernels_us

    def forward(self, argument):
        where = (argument[0] if isinstance(argument, tuple) else argument).where
        for microseconds in self.kernels_us:
            self.simulation.launch(microseconds, where)
        return argument


class _Final(Unit):
    def forward(self, state):
        return super().forward(state)[0]


class _Whole(nn.Module):
    def __init__(self, segments, final):
        super().__init__()
        self.segments, self.final = nn.ModuleList(segments), final

    def forward(self, x):
        state = (x,)
        for segment in self.segments:
            state = segment(state)
        return self.final(state)


def simulated_backbone(simulation, segments_us, final_us):
    """A backbone in the eyes of a runtime.

    Args:
        segments_us: times of the kernels of each segment, in microseconds.
        final_us: of the final part.
    """
    segments, final = [Unit(simulation, times) for times in segments_us], _Final(simulation, final_us)
    placements = [
        Placement(index=index, module=f"blocks.{index}", layout="tokens", channels=4, grid=(1, 1), depth=index + 1,
                  reduction=1.0, prefix_tokens=0, class_token=False)
        for index in range(len(segments))
    ]  # fmt: skip
    return SimpleNamespace(
        segments=segments,
        final=final,
        module=_Whole(segments, final),
        placements=placements,
        facts=BackboneFacts(name="simulated", input_size=(1, 2, 2), num_outputs=4, task="classification"),
    )
