"""A multi-exit model's fused segments and heads on a GPU, as a session's units: one chain for each batch size.

The buffers are static, so one request runs at a time (`turn`); others wait for it, and their wait counts as their own
time. Handing work over does not wait for it; `ask` gives what can be waited for, or looked at now and then.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitsearch.deploy.cuda.chain import Chain
from exitsearch.deploy.cuda.device import Device, Event
from exitsearch.deploy.units import GraphUnits
from exitsearch.runtime import RequestError, RunError
from exitsearch.runtime.bundle.manifest import Latency
from exitsearch.runtime.graphs import NO_SIDE, Stopped

Arrays = NDArray[Any]


@dataclass(frozen=True)
class Place:
    """Where a request's inputs are.

    Attributes:
        chain: in whose buffers.
        rows: which row of the batch each of them is.
        started: the event before the pass.
    """

    chain: Chain
    rows: Arrays
    started: Event


class Pending:
    """An exit's answer on its way to the host. From any thread.

    The buffer that it comes in is the next request's too, so it is read before the turn ends and never afterwards.
    """

    def __init__(self, position: int, place: Place, event: Event, device: Device) -> None:
        self.position = position
        self._place, self._event, self._device = place, event, device
        self._lock = threading.Lock()
        self._outputs: Arrays | None = None
        self.after_ms = 0.0

    def poll(self) -> Arrays | None:
        """Outputs [rows, num_outputs], if they are there; `after_ms` is then the time from the pass's begin."""
        with self._lock:
            if self._outputs is None and self._event.query():
                chain = self._place.chain
                self._outputs = chain.answer(self.position)[self._place.rows]
                self.after_ms = self._device.between_ms(self._place.started, self._event)
            return self._outputs

    def wait(self) -> Arrays:
        """The same, once they are there; other threads go on meanwhile."""
        if self._outputs is None:
            self._event.synchronize()
        found = self.poll()
        assert found is not None
        return found


class CudaUnits:
    """Units of a session.

    Args:
        units: of the model, its modules on the device.
        device: that they run on.
        batch_sizes: rising; a request takes the smallest that it fits into.

    Attributes:
        chains: by batch size, rising.
        latencies: the table of each batch size; to be filled once they are measured.
    """

    def __init__(self, units: GraphUnits, device: Device, *, batch_sizes: Sequence[int]) -> None:
        assert list(batch_sizes) == sorted(set(batch_sizes))
        self.device = device
        # The largest first: what it needs is the most, and the others find room in the pool.
        made = {size: Chain(units, device, batch_size=size) for size in reversed(batch_sizes)}
        self.chains = {size: made[size] for size in batch_sizes}
        self.latencies: dict[int, Latency] = {}
        self._lock = threading.RLock()
        # Whether something was handed over in this turn that no event stands behind, and the last event.
        self._loose = False
        self._end: Event | None = None

    def chain_for(self, rows: int) -> Chain:
        """The chain that so many inputs run in.

        Raises:
            RequestError: there is none so large.
        """
        for size, chain in self.chains.items():
            if rows <= size:
                return chain
        raise RequestError(
            f"this session has graphs for batches of at most {max(self.chains)} inputs, found {rows}; ask in several "
            "batches, or load it with a larger one among batch_sizes"
        )

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The buffers for one request alone; within it this thread's work goes to the device's stream."""
        with self._lock, self.device.current():
            self._loose, self._end = False, None
            try:
                yield
            finally:
                if self._loose:
                    self.device.drain()
                elif self._end is not None and not self._end.query():
                    self._end.synchronize()

    def begin(self, x: Arrays, side: Mapping[str, Arrays] = NO_SIDE) -> Place:  # noqa: D102
        chain = self.chain_for(len(x))
        self._loose = True
        chain.begin(x, side)
        return Place(chain, np.arange(len(x)), chain.started)

    def segment(self, position: int, state: Place, stop: Any) -> Place:  # noqa: D102
        if stop.terminate:
            raise Stopped
        self._loose = True
        state.chain.segment(position)
        return state

    def ask(self, position: int, state: Place) -> Pending:
        """Hand over a head, and the copy of its answer to the host."""
        self._loose, self._end = False, state.chain.ask(position)
        return Pending(position, state, self._end, self.device)

    def head(self, position: int, state: Place, stop: Any) -> Arrays:  # noqa: D102
        if stop.terminate:
            raise Stopped
        return self.checked(position, self.ask(position, state).wait())

    def checked(self, position: int, outputs: Arrays) -> Arrays:
        """Outputs that are numbers.

        Raises:
            RunError: they are none.
        """
        if not np.isfinite(outputs).all():
            raise RunError(
                f"exit {position} gave outputs that are not finite numbers; give inputs in the range that the model "
                "was trained on, or load it with dtype fp32"
            )
        return outputs

    def take(self, position: int, state: Place, rows: Arrays) -> Place:  # noqa: D102
        chain, at = self.chain_for(len(rows)), state.rows[rows]
        if chain.batch_size >= state.chain.batch_size or not chain.movable:
            return Place(state.chain, at, state.started)
        self._loose = True
        chain.take(position, state.chain, at)
        return Place(chain, np.arange(len(rows)), state.started)

    def new_stop(self) -> Any:  # noqa: D102
        return SimpleNamespace(terminate=False)
