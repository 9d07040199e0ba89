"""CudaSession: a multi-exit model on a GPU with the contract of `exitsearch.runtime.Session`.

>>> from exitsearch.deploy.cuda import load_cuda_session      # doctest: +SKIP
>>> session = load_cuda_session("model", device="cuda")       # doctest: +SKIP
>>> answer = session.predict(x, budget_ms=0.8)                # doctest: +SKIP
>>> answer.label, answer.exit, answer.in_time                 # doctest: +SKIP
(3, 1, True)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from numpy.typing import NDArray

from exitsearch.deploy.cuda.units import CudaUnits
from exitsearch.deploy.cuda.work import QueuedPlan, QueuedWork
from exitsearch.runtime import RequestError, Session
from exitsearch.runtime.bundle.manifest import Manifest
from exitsearch.runtime.deadline import Plan, Table
from exitsearch.runtime.graphs import NO_SIDE
from exitsearch.runtime.policies import Policy
from exitsearch.runtime.work import Work

Arrays = NDArray[Any]


class CudaSession(Session):
    """A session over CUDA graphs. Made by `cuda_session` and `load_cuda_session`.

    One request runs at a time, in whatever order threads come; the others wait for their turn, and the wait counts as
    time spent. Each batch size has its own graphs and its own table of times.

    Args:
        manifest: what the model is.
        units: with a table of times for each batch size.
        options: as for `Session`.

    Attributes:
        warnings: what should be known of the times, as sentences.
    """

    warnings: tuple[str, ...] = ()

    def __init__(self, manifest: Manifest, *, units: CudaUnits, **options: Any) -> None:
        super().__init__(manifest, units=units, **options)
        self._cuda = units
        self._tables = {size: Table(latency, quantile=self.quantile) for size, latency in units.latencies.items()}

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Batches that there are graphs for, rising; a request takes the smallest that it fits into."""
        return tuple(self._cuda.chains)

    def revalued(self, values: Sequence[float]) -> Self:
        """A session over the same graphs in which the exits are worth something else.

        Args:
            values: of every exit, the final one last; higher is better.

        Raises:
            RequestError: there are more or fewer of them.
        """
        if len(values) != len(self.exits):
            raise RequestError(
                f"values has a number for each of the {len(self.exits)} exits, found {len(values)}; give one each"
            )
        manifest = replace(self.manifest, values=tuple(values))
        return type(self)(
            manifest, units=self._cuda, quantile=self.quantile, most_pixels=self._most_pixels, clock=self._clock
        )

    def every_exit(self, xs: Arrays, *, side: Mapping[str, Arrays] | None = None) -> list[Arrays]:
        """As `Session.every_exit`."""
        with self._cuda.turn():
            return super().every_exit(xs, side=side)

    def _table_of(self, rows: int) -> Table:
        return self._tables[self._cuda.chain_for(rows).batch_size]

    def _plan(self, budget_ms: float | None, *, rows: int = 1) -> Plan:
        return QueuedPlan(self._table_of(rows), self._slow_down, budget_ms=budget_ms, rows=rows)

    def _work(self, policy: Policy, begin: float, *, rows: int, side: Mapping[str, Arrays] = NO_SIDE) -> Work:
        return QueuedWork(
            self._cuda,
            policy,
            table=self._table_of(rows),
            slow_down=self._slow_down,
            clock=self._clock,
            arrived=begin,
            rows=rows,
            side=side,
        )
