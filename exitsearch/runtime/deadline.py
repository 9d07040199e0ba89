"""What can still be finished before a deadline, by the bundle's latency table and by how slow the machine is now.

A table measured on a quiet machine is too hopeful beside a busy neighbour. So a quantile of observed over median time
is tracked as requests come and go (a stochastic approximation of a quantile, Robbins and Monro, 1951, with steps of a
fixed size in the logarithm): with quantile q, the factor f is multiplied by exp(step * q) by a request that was slower,
by exp(-step * (1 - q)) by one that was not; where a share 1 - q is slower the two balance. A plan takes the larger of
the table's own quantile and f times its median.

While everything is refused nothing is observed, so f forgets: what it has above 1 halves with every half-life. All of
it is arithmetic over times that are given, so it is tested without a clock.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from .bundle.manifest import Latency

# Quantiles that the table holds.
QUANTILES = (0.5, 0.9, 0.99)

# By experiment, 150 requests beside a neighbour on the same core: 1.2 to 2.5% late at quantile 0.99, where an
# exponential mean had 12 to 18% and no correction 28 to 30%.
STEP, _HALF_LIFE_S = 0.1, 2.0
# A machine a thousand times slower than itself is not one to plan for, and f has to come back from there.
_MOST = 1000.0
# As budgets are compared elsewhere (exitsearch/specs/budgets/deadline.py): rounding alone refuses nothing.
_TOLERANCE = 1e-9


class SlowDown:
    """How much slower than its median the machine is now, at a quantile; at least 1. For many threads at once.

    >>> slow = SlowDown(quantile=0.99, clock=lambda: 0.0)
    >>> for _ in range(3):
    ...     slow.observe(20.0, median_ms=10.0)
    >>> round(slow.factor, 3)  # exp(3 * 0.1 * 0.99)
    1.346

    Args:
        quantile: above 0 and below 1.
        clock: seconds, from any moment on.
        step: of the logarithm; 0: nothing is tracked, the factor stays 1.
        half_life_s: in seconds, above 0.
    """

    def __init__(
        self,
        *,
        quantile: float,
        clock: Callable[[], float],
        step: float = STEP,
        half_life_s: float = _HALF_LIFE_S,
    ) -> None:
        assert 0 < quantile < 1
        assert step >= 0
        self._up, self._down = math.exp(step * quantile), math.exp(-step * (1 - quantile))
        self._half_life_s, self._clock = half_life_s, clock
        self._lock = threading.Lock()
        self._factor, self._as_of = 1.0, clock()

    @property
    def factor(self) -> float:
        """By which medians are multiplied now."""
        with self._lock:
            return self._forget()

    def observe(self, observed_ms: float, *, median_ms: float) -> None:
        """Take in how long something took that takes `median_ms` as a rule."""
        if median_ms <= 0:
            return
        with self._lock:
            factor = self._forget()
            factor *= self._up if observed_ms > factor * median_ms else self._down
            self._factor = min(max(factor, 1.0), _MOST)

    def _forget(self) -> float:
        now = self._clock()
        past = max(0.0, now - self._as_of)
        self._as_of = now
        self._factor = 1.0 + (self._factor - 1.0) * 0.5 ** (past / self._half_life_s)
        return self._factor


@dataclass(frozen=True)
class Times:
    """How long work takes, in ms.

    Attributes:
        median: as a rule.
        late: at the quantile that is planned by.
    """

    median: float
    late: float

    def __add__(self, other: Times) -> Times:
        return Times(self.median + other.median, self.late + other.late)

    def planned(self, factor: float) -> float:
        """At the quantile, on a machine that is so many times slower now."""
        return max(self.late, self.median * factor)


class Table:
    """The latency table of a bundle, read at one quantile.

    Quantiles do not add up: of five parts that are each interrupted once in a hundred times for 10 ms, hardly a way is
    interrupted five times. The sum of the parts' quantiles is the most that a way can take; that part of a pass is
    delayed by no more than the whole pass, whose quantile the table's slow-down samples know. The smaller one counts.

    Args:
        latency: the table.
        quantile: one of `QUANTILES`.
    """

    def __init__(self, latency: Latency, *, quantile: float) -> None:
        assert quantile in QUANTILES
        self._batch = latency.batch_size
        segments = _pairs(latency.segments[0.5], latency.segments[quantile])
        # Sums up to before each segment: every decision on the way asks for some of them.
        self._until = tuple(accumulate(segments, initial=Times(0.0, 0.0)))
        # The final exit has no head of its own.
        self._heads = (*_pairs(latency.heads[0.5], latency.heads[quantile]), Times(0.0, 0.0))
        whole_ms = sum(latency.segments[0.5]) + sum(latency.heads[0.5])
        self._most_delay = whole_ms * _most_excess(latency.slow_down, quantile)

    def scale(self, rows: int) -> float:
        """By which times of so many inputs at once are multiplied: never more hopeful than one batch after the other.

        A part of a batch is taken for a whole one: what a run costs before its first input is not known.
        """
        return max(1.0, rows / self._batch)

    def way(self, *, done: int, to: int, head: bool = True) -> Times:
        """From behind `done` segments to the answer of exit `to` (or its segment alone)."""
        begin, end = self._until[done], self._until[to + 1]
        extra = self._heads[to] if head else Times(0.0, 0.0)
        median = end.median - begin.median + extra.median
        delay = end.late - begin.late + extra.late - median
        return Times(median, median + min(delay, self._most_delay))


def _most_excess(slow_down: Sequence[float], quantile: float) -> float:
    """How much slower than its median a whole pass is at a quantile; without bound where samples cannot tell."""
    if len(slow_down) * (1 - quantile) < 1:
        return math.inf
    place = math.ceil(len(slow_down) * quantile)  # of those that are no slower, no fewer than this share
    return max(0.0, sorted(slow_down)[min(place, len(slow_down) - 1)] - 1.0)


def _pairs(medians: Sequence[float], late: Sequence[float]) -> tuple[Times, ...]:
    return tuple(Times(median, quantile) for median, quantile in zip(medians, late, strict=True))


class Plan:
    """What one request can still reach.

    Args:
        table: of the bundle.
        slow_down: of the session.
        budget_ms: from the request's arrival on; None: as long as it takes.
        rows: inputs in it.
    """

    def __init__(self, table: Table, slow_down: SlowDown, *, budget_ms: float | None, rows: int = 1) -> None:
        self._table, self._slow_down = table, slow_down
        self.budget_ms = budget_ms
        self.rows = rows

    def needs_ms(self, *, done: int, to: int) -> float:
        """What is planned from behind `done` segments to exit `to`, in ms."""
        scale = self._table.scale(self.rows)
        return self._table.way(done=done, to=to).planned(self._slow_down.factor) * scale

    def fits(self, spent_ms: float, *, done: int, to: int) -> bool:
        """Whether exit `to` answers in time, at the stated quantile."""
        if self.budget_ms is None:
            return True
        return spent_ms + self.needs_ms(done=done, to=to) <= self.budget_ms * (1 + _TOLERANCE)
