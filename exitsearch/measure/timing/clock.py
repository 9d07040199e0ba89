"""Clocks that time the parts of one pass. A boundary costs one reading, never a stop of the device.

    start  mark      mark         mark      stop
    |------|---------|------------|---------|
     part 0  part 1    part 2       part 3

`HostClock` reads the host's time at each boundary. On CUDA the host runs ahead of the device, so `CudaClock` records
an event at each boundary, and the host's time only where the host has just waited for the device: after a decision was
copied to the host, and at the end.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch


@dataclass(frozen=True)
class PassTimes:
    """Times of one pass.

    Attributes:
        parts_ms: each part on the host's clock: what a user waits.
        total_ms: the whole pass on the host's clock, waiting for the device included.
        device_parts_ms: each part on the device's own clock; None where the host's is the only one.
        enqueue_ms: until the host had handed over all work, before it waited; None without a device to wait for.
    """

    parts_ms: list[float]
    total_ms: float
    device_parts_ms: list[float] | None = None
    enqueue_ms: float | None = None


class Clock(ABC):
    """Times one pass at a time: `start`, then `mark` at the end of every part but the last, then `stop`.

    Attributes:
        name: the clock's name in files.
        marks_cost: whether a mark takes time that a unit would be charged with: an event of a device, on the host.
        rest_s: for which the idle device is left alone before each pass, as between two frames of a camera.
        rested_s: for which it was, over all passes.
    """

    name: ClassVar[str]
    marks_cost: ClassVar[bool] = False

    def __init__(
        self,
        now_ns: Callable[[], int] = time.perf_counter_ns,
        *,
        rest_s: float = 0.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.now_ns, self.rest_s, self._sleep = now_ns, rest_s, sleep
        self.rested_s = 0.0

    def _rest(self) -> None:
        if self.rest_s:
            self._sleep(self.rest_s)
            self.rested_s += self.rest_s

    def now_s(self) -> float:
        """Seconds on the host's clock, for time limits."""
        return self.now_ns() / 1e9

    @abstractmethod
    def start(self) -> None:
        """Begin a pass on an idle device."""

    @abstractmethod
    def mark(self, *, waited: bool = False) -> None:
        """End a part.

        Args:
            waited: whether the host has just waited for the device, so that both stand at the same point.
        """

    @abstractmethod
    def stop(self) -> PassTimes:
        """End the last part and the pass, once the device is idle."""


class HostClock(Clock):
    """The host's clock, for work that is done when the call returns."""

    name = "perf_counter"

    def start(self) -> None:  # noqa: D102
        self._rest()
        self._readings = [self.now_ns()]

    def mark(self, *, waited: bool = False) -> None:  # noqa: D102
        self._readings.append(self.now_ns())

    def stop(self) -> PassTimes:  # noqa: D102
        self._readings.append(self.now_ns())
        readings = self._readings
        parts = [(after - before) / 1e6 for before, after in pairwise(readings)]
        return PassTimes(parts, (readings[-1] - readings[0]) / 1e6)


class CudaClock(Clock):
    """CUDA events at every boundary, and the host's clock where both stand at the same point.

        host    start . . . . . . . . . . . . . .(wait)mark . . . . . . . . . . .(wait)stop
        device  |event  segment  |event  head          |event  segment  |event  final  |

    Between two such points every part takes its device time, and the last one the rest of the host's: the wait, which
    ends it. What the host spends on recording the event after a wait belongs to no part.

    Args:
        device: the CUDA device; events stand in the stream that is its current one when a pass starts.
        now_ns: the host's clock.
        cuda: `torch.cuda`, or a stand-in with `Event`, `current_stream` and `synchronize`.
    """

    name = "perf_counter+cuda_events"
    marks_cost = True

    def __init__(
        self,
        device: torch.device,
        *,
        now_ns: Callable[[], int] = time.perf_counter_ns,
        cuda: Any = torch.cuda,
        rest_s: float = 0.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(now_ns, rest_s=rest_s, sleep=sleep)
        self.device = device
        self.cuda = cuda
        self._events: list[Any] = []

    def start(self) -> None:  # noqa: D102
        # Looking the stream up costs as much as recording an event: once for each pass, before it begins.
        self._stream = self.cuda.current_stream(self.device)
        self.cuda.synchronize(self.device)
        self._rest()
        self._used = 0
        # Parts ended, and the host's time before and after the event, wherever the host stood where the device did.
        self._meetings: list[tuple[int, int, int]] = []
        self._meet()

    def mark(self, *, waited: bool = False) -> None:  # noqa: D102
        if waited:
            self._meet()
        else:
            self._record()

    def stop(self) -> PassTimes:  # noqa: D102
        self._record()
        enqueued = self.now_ns()
        self.cuda.synchronize(self.device)
        end = self.now_ns()
        self._meetings.append((self._used - 1, end, end))
        events = self._events[: self._used]
        device = [before.elapsed_time(after) for before, after in pairwise(events)]
        host: list[float] = []
        for (first, _, begin), (last, reached, _) in pairwise(self._meetings):
            others = device[first : last - 1]
            host += [*others, max(0.0, (reached - begin) / 1e6 - sum(others))]
        begin = self._meetings[0][2]
        return PassTimes(host, (end - begin) / 1e6, device, (enqueued - begin) / 1e6)

    def _meet(self) -> None:
        reached = self.now_ns()
        self._record()
        self._meetings.append((self._used - 1, reached, self.now_ns()))

    def _record(self) -> None:
        # Events are made once and recorded again in every pass: making one costs as much as recording it.
        if self._used == len(self._events):
            self._events.append(self.cuda.Event(enable_timing=True))
        self._events[self._used].record(self._stream)
        self._used += 1


def clock_for(device: torch.device, *, rest_s: float = 0.0) -> Clock:
    """The clock for work on a device, which rests for so many seconds before every pass."""
    return CudaClock(device, rest_s=rest_s) if device.type == "cuda" else HostClock(rest_s=rest_s)
