"""The simulated device of `tests/measure`, with what a session does on top: graphs that compute again when they are
replayed, copies to the host that arrive when the device gets there, and events that are polled and waited for.

A graph holds the operators that ran on the device's tensors while it was recorded. A replay runs them over the very
same tensors and writes over the very same results: a unit that read anything but its static inputs, or whose results
moved, would answer with old numbers. A copy to the host writes NaN at once and the numbers only when the host has found
out that it is done: whoever reads without a wait is found out.
"""

from __future__ import annotations

import torch
from simulated_device import Costs, Event, Graph, Simulation, Stream, _flat

from exitsearch.deploy.cuda.device import CudaDevice

__all__ = ["Costs", "FakeCuda", "SimulatedDevice"]


class FakeCuda(Simulation):
    """Attributes beside those of `Simulation`:

    waits: how often the host waited for the device.
    syncing: whether a wait is reported (to `watch`).
    """

    def __init__(self, costs=None, **options):
        super().__init__(costs, **options)
        self.waits = 0
        self.arriving = []
        self.alarms = []

    def Event(self, *, enable_timing):
        assert enable_timing
        return PolledEvent(self)

    def CUDAGraph(self):
        self.graphs.append(ReplayedGraph(self))
        return self.graphs[-1]

    def Stream(self, device=None):
        self.made_streams.append(WaitedStream(self, self._index(device)))
        return self.made_streams[-1]

    def copy_later(self, stream, target, values):
        """A copy to the host that has been handed over."""
        assert stream.capturing is None
        self.spend(self.costs.launch)
        self.enqueue(stream, self.costs.copy)
        target.fill_(float("nan"))
        self.arriving.append((stream.free_us, target, values))

    def arrive(self):
        """What is done by now is on the host."""
        for entry in [entry for entry in self.arriving if entry[0] <= self.host_us]:
            entry[1].copy_(entry[2])
            self.arriving.remove(entry)

    def at(self, us, call):
        """Call something when the host's time has come to a point, in a wait or between two steps."""
        self.alarms.append((us, call))

    def wait_until(self, us):
        self.waits += 1
        end = max(self.host_us, us)
        for alarm in sorted(self.alarms, key=lambda alarm: alarm[0]):
            if alarm[0] <= end:
                self.alarms.remove(alarm)
                self.host_us = max(self.host_us, alarm[0])
                alarm[1]()
        self.host_us = max(self.host_us, end) + self.costs.wait
        self.arrive()

    def synchronize(self, device=None):
        super().synchronize(device)
        self.arrive()


class WaitedStream(Stream):
    def synchronize(self):
        self.simulation.wait_until(self.free_us)


class PolledEvent(Event):
    at_us = 0.0

    def query(self):
        done = self.at_us <= self.simulation.host_us
        if done:
            self.simulation.arrive()
        return done

    def synchronize(self):
        self.simulation.wait_until(self.at_us)


class ReplayedGraph(Graph):
    """A graph with the operators that it holds."""

    def replay(self):
        super().replay()
        with torch.no_grad(), torch._C.DisableTorchFunctionSubclass():
            for function, arguments, options, results in self.__dict__.get("operators", ()):
                again = function(*arguments, **options)
                for result, value in zip(results, _tensors(again), strict=True):
                    if result is not value:
                        result.copy_(value)

    def hold(self, *operator):
        self.__dict__.setdefault("operators", []).append(operator)


def _tensors(value):
    return [part for part in _flat((value,)) if isinstance(part, torch.Tensor)]


class CudaTensor(torch.Tensor):
    """A tensor of the simulated device: every operator on it is a kernel, and graphs hold the operators."""

    @property
    def device(self):
        return torch.device("cuda", self.where)

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        options = options or {}
        mine = next(a for a in _flat((*arguments, *options.values())) if isinstance(a, CudaTensor))
        simulation, where = mine.simulation, mine.where
        stream = simulation.streams[where]
        name = function.__name__
        if name == "copy_" and not isinstance(arguments[0], CudaTensor):
            with torch._C.DisableTorchFunctionSubclass():
                simulation.copy_later(stream, arguments[0], arguments[1].clone())
            return arguments[0]
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*arguments, **options)
        found = _tensors(result)
        if not found:
            return result
        if name not in ("view", "reshape", "unflatten", "flatten", "permute", "transpose", "expand", "__getitem__"):
            simulation.launch(simulation.costs.operation, where)
        in_place = any(found[0] is argument for argument in arguments[:1])
        placed = found if in_place else [tensor if tensor is mine else _of(tensor, mine) for tensor in found]
        if stream.capturing is not None:
            stream.capturing.hold(function, arguments, options, placed)
        if isinstance(result, torch.Tensor):
            return placed[0]
        return type(result)(placed) if isinstance(result, list) else tuple(placed)


def _of(tensor, other):
    made = tensor.as_subclass(CudaTensor)
    made.simulation, made.where = other.simulation, other.where
    return made


class SimulatedDevice(CudaDevice):
    """`CudaDevice` itself over the simulation; only tensors are made otherwise."""

    def __init__(self, simulation, *, index=0):
        self.simulation = simulation
        super().__init__(torch.device("cuda", index), cuda=simulation, now_ns=simulation.now_ns)

    def place(self, module, dtype):
        module.to(dtype=dtype)

    def buffer(self, *shape, dtype=torch.float32):
        made = torch.zeros(shape, dtype=dtype).as_subclass(CudaTensor)
        made.simulation, made.where = self.simulation, self.device.index
        return made

    def pinned(self, *shape, dtype=torch.float32):
        return torch.zeros(shape, dtype=dtype)

    def now_s(self):
        """The host's clock."""
        return self.simulation.host_us / 1e6
