"""Segments and heads that take as long as they are told to, by a clock that they move: no stopwatch."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np

from exitsearch.runtime.bundle.manifest import Latency
from exitsearch.runtime.deadline import Table
from exitsearch.runtime.graphs import Stopped
from exitsearch.runtime.slow_down import SlowDown
from exitsearch.runtime.work import Work


class FakeClock:
    """Seconds that pass when somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeUnits:
    """Units whose work moves the clock.

    Args:
        clock: that is moved.
        segments: ms of each segment.
        heads: ms of each head.
        outputs: what each exit answers [exits + 1, batch, num_outputs].
        slower: by which all is multiplied, one factor a unit that is run, in order; then 1.
    """

    def __init__(self, clock, *, segments, heads, outputs=None, slower=()) -> None:
        self.clock, self.segments, self.heads = clock, segments, (*heads, 0.0)
        self.outputs = outputs
        self.slower = itertools.chain(slower, itertools.repeat(1.0))
        self.log: list[str] = []
        self.before: dict[str, object] = {}

    def _spend(self, name: str, ms: float, stop) -> None:
        if name in self.before:
            self.before[name]()
        if stop.terminate:
            raise Stopped
        self.log.append(name)
        self.clock.now += ms * next(self.slower) / 1e3

    def begin(self, x):
        return {"rows": np.arange(len(x))}

    def segment(self, position, state, stop):
        self._spend(f"segment {position}", self.segments[position], stop)
        return state

    def head(self, position, state, stop):
        if position < len(self.heads) - 1:
            self._spend(f"head {position}", self.heads[position], stop)
        rows = state["rows"]
        if self.outputs is not None:
            return np.asarray(self.outputs[position], dtype=np.float32)[rows]
        return np.eye(4, dtype=np.float32)[np.full(len(rows), position)]

    def take(self, position, state, rows):
        return {"rows": state["rows"][rows]}

    def new_stop(self):
        return SimpleNamespace(terminate=False)


def table_of(segments, heads, *, late=1.0, batch_size=1, quantile=0.99, slow_down=(1.0,)) -> Table:
    """A latency table whose upper quantiles are `late` times its medians."""

    def quantiles(medians):
        return {q: tuple(m * (1.0 if q == 0.5 else late) for m in medians) for q in (0.5, 0.9, 0.99)}

    latency = Latency(
        batch_size=batch_size, threads=1, segments=quantiles(segments), heads=quantiles(heads), slow_down=slow_down
    )
    return Table(latency, quantile=quantile)


def run_work(units, policy, table, *, rows=1, slow_down=None):
    """Work of some rows, done; the work."""
    slow_down = slow_down or SlowDown(quantile=0.99, clock=units.clock)
    work = Work(units, policy, table=table, slow_down=slow_down, clock=units.clock, arrived=units.clock(), rows=rows)
    work.run(np.zeros((rows, 1, 1, 1)))
    return work
