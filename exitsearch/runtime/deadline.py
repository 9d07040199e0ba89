"""What can still be finished before a deadline, by the bundle's latency table and by how slow the machine is now.

A table measured on a quiet machine is too hopeful beside a busy neighbour; `slow_down.py` tracks by how much. All of it
is arithmetic over times that are given, so it is tested without a clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from .bundle.manifest import Latency
from .slow_down import SlowDown

# Quantiles that the table holds.
QUANTILES = (0.5, 0.9, 0.99)

# As budgets are compared elsewhere (exitsearch/specs/budgets/deadline.py): rounding alone refuses nothing.
_TOLERANCE = 1e-9


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

    def scaled(self, times: float) -> Times:
        """Of so many times the work."""
        return Times(self.median * times, self.late * times)

    def planned(self, *, pace: float = 1.0, delay_ms: float = 0.0) -> float:
        """At the quantile, on a machine that is so many times slower now, and delays requests by so much beyond it."""
        return max(self.late, self.median * pace, self.late + self.median * (pace - 1) + delay_ms)


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
        return self.bounded(Times(median, end.late - begin.late + extra.late))

    def bounded(self, times: Times, *, scale: float = 1.0) -> Times:
        """The sum of some parts, delayed by no more than a whole pass; of so many times the work of one batch."""
        return Times(times.median, times.median + min(times.late - times.median, self._most_delay * scale))


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
        extra_ms: that its beginning takes longer, for the pause before it (`pauses.py`).

    Attributes:
        beginning: what comes to the times of a way from the very beginning.
    """

    def __init__(
        self, table: Table, slow_down: SlowDown, *, budget_ms: float | None, rows: int = 1, extra_ms: float = 0.0
    ) -> None:
        self._table, self.beginning = table, Times(extra_ms, extra_ms)
        # As of now: what happens during the request itself is in the time that it has spent.
        self._pace, self._delay_ms = slow_down.now() if budget_ms is not None else (1.0, -math.inf)
        self.budget_ms = budget_ms
        self.rows = rows

    def needs_ms(self, *, done: int, to: int, head: bool = True) -> float:
        """What is planned from behind `done` segments to exit `to` (or its segment alone), in ms."""
        way = self._table.way(done=done, to=to, head=head).scaled(self._table.scale(self.rows))
        if done == 0:
            way += self.beginning
        return way.planned(pace=self._pace, delay_ms=self._delay_ms)

    def fits(self, spent_ms: float, *, done: int, to: int) -> bool:
        """Whether exit `to` answers in time, at the stated quantile."""
        if self.budget_ms is None:
            return True
        return spent_ms + self.needs_ms(done=done, to=to) <= self.budget_ms * (1 + _TOLERANCE)
