"""Devices that a chain of units runs on: work is handed over, and an event tells when it is done.

`CudaDevice` records units as CUDA graphs and replays them in a stream of its own. `HostDevice` runs the same units as
plain torch, operator by operator, into the same static buffers: for machines without a GPU, and for tests.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from exitsearch.errors import ExitSearchError
from exitsearch.measure.runtimes.cudagraph import Recorder
from exitsearch.measure.timing.clock import Clock, CudaClock, HostClock
from exitsearch.models.backbone import State


class Event(Protocol):
    """A point in the queue of a device, as `torch.cuda.Event`."""

    def query(self) -> bool:
        """Whether everything before it is done."""

    def synchronize(self) -> None:
        """Wait until it is; other threads go on meanwhile."""


class Device(ABC):
    """What units run on.

    Attributes:
        device: where their tensors are.
    """

    device: torch.device

    @abstractmethod
    def record(self, name: str, run: Callable[[], State]) -> tuple[Callable[[], None], State]:
        """Make one function ready to be run again and again over the same buffers.

        Args:
            name: of the unit, for messages.
            run: from tensors that stay where they are to new ones.

        Returns:
            What runs it, without a wait, and the tensors that every run writes anew.

        Raises:
            ExitSearchError: it cannot be recorded.
        """

    def place(self, module: nn.Module, dtype: torch.dtype) -> None:
        """Put a module there, in a dtype."""
        module.to(self.device, dtype)

    def buffer(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Zeros on the device."""
        return torch.zeros(shape, dtype=dtype, device=self.device)

    @abstractmethod
    def pinned(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Zeros on the host that the device copies from and to by itself."""

    @abstractmethod
    def event(self) -> Event:
        """A new event, not recorded yet."""

    @abstractmethod
    def mark(self, event: Any) -> None:
        """Record an event behind everything that was handed over."""

    @abstractmethod
    def between_ms(self, first: Any, last: Any) -> float:
        """From one event to another that is done, in ms."""

    @abstractmethod
    def current(self) -> AbstractContextManager[object]:
        """Within it, what this thread hands over goes to the device's own stream."""

    @abstractmethod
    def drain(self) -> None:
        """Wait until everything that was handed over is done."""

    @abstractmethod
    def clock(self) -> Clock:
        """The clock to measure it by."""


class CudaDevice(Device):
    """A GPU.

    Args:
        device: with its index.
        cuda: `torch.cuda`, or a stand-in.
        now_ns: the host's clock.
    """

    def __init__(
        self, device: torch.device, *, cuda: Any = torch.cuda, now_ns: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self.device = device
        self._cuda, self._now_ns = cuda, now_ns
        self._recorder = Recorder(device, cuda=cuda)
        # Of its own: what else this process does on the GPU stands in no request's way.
        self._stream = cuda.Stream(device=device)

    def record(self, name: str, run: Callable[[], State]) -> tuple[Callable[[], None], State]:  # noqa: D102
        try:
            with torch.no_grad():
                return self._recorder.record(run)
        except RuntimeError as error:
            cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ExitSearchError(
                f"{name} cannot be recorded as a CUDA graph ({cause}); what waits for the device or copies to the host "
                "inside cannot; choose other heads or placements"
            ) from error

    def pinned(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:  # noqa: D102
        return torch.zeros(shape, dtype=dtype, pin_memory=True)

    def event(self) -> Event:  # noqa: D102
        made: Event = self._cuda.Event(enable_timing=True)
        return made

    def mark(self, event: Any) -> None:  # noqa: D102
        event.record(self._stream)

    def between_ms(self, first: Any, last: Any) -> float:  # noqa: D102
        return float(first.elapsed_time(last))

    @contextmanager
    def current(self) -> Iterator[None]:  # noqa: D102
        with self._cuda.device(self.device), self._cuda.stream(self._stream), torch.no_grad():
            yield

    def drain(self) -> None:  # noqa: D102
        self._stream.synchronize()

    def clock(self) -> Clock:  # noqa: D102
        return CudaClock(self.device, now_ns=self._now_ns, cuda=self._cuda)


class _Done:
    """An event of work that was done when it was handed over."""

    at_s = 0.0

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        return


class HostDevice(Device):
    """The CPU, or any device on which torch runs, with nothing recorded: each run calls the module anew.

    Args:
        device: where the tensors are.
        now_s: the host's clock in seconds.
    """

    def __init__(self, device: torch.device | None = None, *, now_s: Callable[[], float] = time.perf_counter) -> None:
        self.device = device or torch.device("cpu")
        self._now_s = now_s

    def record(self, name: str, run: Callable[[], State]) -> tuple[Callable[[], None], State]:  # noqa: D102
        with torch.no_grad():
            # Copies: what a unit hands on untouched would else be the buffer that it reads.
            buffers = tuple(tensor.clone() for tensor in run())

        def again() -> None:
            for buffer, tensor in zip(buffers, run(), strict=True):
                buffer.copy_(tensor)

        return again, buffers

    def pinned(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:  # noqa: D102
        return torch.zeros(shape, dtype=dtype)

    def event(self) -> Event:  # noqa: D102
        return _Done()

    def mark(self, event: Any) -> None:  # noqa: D102
        event.at_s = self._now_s()

    def between_ms(self, first: Any, last: Any) -> float:  # noqa: D102
        return float(last.at_s - first.at_s) * 1e3

    def current(self) -> AbstractContextManager[object]:  # noqa: D102
        return torch.no_grad()

    def drain(self) -> None:  # noqa: D102
        return

    def clock(self) -> Clock:  # noqa: D102
        return HostClock()
