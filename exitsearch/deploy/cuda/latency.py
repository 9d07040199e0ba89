"""The table of a CUDA session: every graph timed in place, by events of the device, with the protocol of profiles.

A chain as a `Runtime`: its segments are the fused ones, and a head's time is that of its graph, the copy of its answer
to the host and the wait for it, as a request has them. The first segment's time holds the copy of the input. Under
`confidence` the host waits behind every head, so segments are those that begin on an idle device; under the other
policies they follow one another in the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitsearch.deploy.cuda.chain import Chain
from exitsearch.deploy.cuda.device import Event
from exitsearch.deploy.cuda.units import CudaUnits
from exitsearch.deploy.latency import Timed, measure_graphs
from exitsearch.measure.runtimes.base import Runtime, UnitKey
from exitsearch.runtime.bundle.manifest import Latency
from exitsearch.specs.bundle import BundleLatency
from exitsearch.specs.question.request import Policy

Progress = Callable[[float, str], None]
Arrays = NDArray[Any]
Asked = tuple[int, Event]

# Random batches that are run in turn.
_INPUT_COUNT = 4


class ChainRuntime(Runtime):
    """A chain, to be timed.

    Args:
        chain: made ready.
        heads: their keys in order.
    """

    name = "cudagraph"
    summary = "the graphs of a CUDA session"
    # The yardstick is the chain itself.
    cuts_are_free = True

    def __init__(self, chain: Chain, heads: Sequence[UnitKey]) -> None:
        self._chain = chain
        last = len(heads)
        self.segments = [self._segment(position) for position in range(last)]
        self.heads = {key: self._asking(position) for position, key in enumerate(heads)}
        self.final = self._final
        self.whole = self._whole
        self._last = last

    @classmethod
    def check(cls, device: Any, dtype: str) -> None:  # noqa: D102
        raise NotImplementedError("a chain is made ready from a model alone")

    def begin(self, x: dict[str, Arrays]) -> None:  # noqa: D102
        self._chain.begin(x["x"], {name: array for name, array in x.items() if name != "x"})

    def features(self, state: None) -> None:  # noqa: D102
        return

    def decide(self, outputs: Asked) -> object:  # noqa: D102
        position, event = outputs
        event.synchronize()
        return self._chain.answer(position)

    def _segment(self, position: int) -> Callable[[None], None]:
        return lambda state: self._chain.segment(position)

    def _asking(self, position: int) -> Callable[[None], Asked]:
        return lambda features: (position, self._chain.ask(position))

    def _final(self, state: None) -> object:
        self._chain.segment(self._last)
        return self.decide((self._last, self._chain.ask(self._last)))

    def _whole(self, x: dict[str, Arrays]) -> object:
        self.begin(x)
        for segment in self.segments:
            segment(None)
        return self._final(None)


def measure_chains(
    units: CudaUnits,
    heads: Sequence[str],
    *,
    policy: Policy,
    max_seconds: float,
    seed: int = 0,
    progress: Progress = lambda share, words: None,
) -> list[Timed]:
    """Fill in the table of every batch size.

    Args:
        units: without tables.
        heads: names in order.
        policy: decides whether segments begin on an idle device.
        max_seconds: for each batch size.
        seed: of inputs and orders.
        progress: called with the share of the work that is done, 0 to 1, and words.
    """
    found = []
    keys = list(enumerate(heads))
    for number, (size, chain) in enumerate(units.chains.items()):
        draw = np.random.default_rng(seed)
        inputs: list[Any] = [
            {name: draw.standard_normal(shape, dtype=np.float32) for name, shape in chain.shapes.items()}
            for _ in range(_INPUT_COUNT)
        ]
        report = partial(_part, progress, number / len(units.chains), 1 / len(units.chains))
        with units.turn():
            timed = measure_graphs(
                ChainRuntime(chain, keys),
                keys,
                inputs,
                batch_size=size,
                policy="interruptible" if policy == "confidence" else "contract",
                threads=1,
                max_seconds=max_seconds,
                seed=seed,
                progress=report,
                clock=units.device.clock(),
            )
        units.latencies[size] = table_of(timed.latency)
        found.append(timed)
    return found


def _part(progress: Progress, before: float, part: float, share: float, words: str) -> None:
    progress(before + part * share, words)


def table_of(latency: BundleLatency) -> Latency:
    """A measured table as sessions read it."""
    quantiles = {0.5: "median", 0.9: "p90", 0.99: "p99"}
    return Latency(
        batch_size=latency.batch_size,
        threads=latency.threads,
        segments={q: tuple(getattr(times, name) for times in latency.segments) for q, name in quantiles.items()},
        heads={q: tuple(getattr(times, name) for times in latency.heads) for q, name in quantiles.items()},
        slow_down=tuple(latency.slow_down),
    )
