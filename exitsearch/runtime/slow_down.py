"""How slow the machine is now, from what requests take: its pace, and by how much single requests are delayed.

A busy neighbour on the same core does two things. In the mean everything takes as much longer as it has a share of the
core: that is the pace, the sum of what was observed over the sum of what the table says. And whoever happens to run
when a turn of the scheduler ends waits for a whole turn of the neighbour, some milliseconds, however short its own work
is: requests of 0.8 and of 2.3 ms beside one neighbour were delayed by the same 4.5 ms, so that a factor learnt from one
is wrong for the other by a factor of three. That is the delay: a quantile of what is left when the pace has been taken
out. A plan is

    max(table's own quantile, pace * table's median + delay).

The quantile is that of the last requests, each counted less the older it is (conformal prediction beyond
exchangeability: Barber, Candes, Ramdas and Tibshirani, 2023), beside `_PRIOR` requests that were never delayed, which
stand for the table. So a single delayed request is planned for at once and forgotten after seconds unless another
follows; where requests are many, a share 1 - quantile of them is late and no more; where everything is refused and
nothing is observed, what is known fades, and requests are tried again.

All of it is arithmetic over times that are given, so it is tested without a clock.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_HALF_LIFE_S = 2.0
# Requests that are looked back upon: twice as many as the 99th percentile needs.
_WINDOW = 200
# Of the requests that stand for the table, in units of 1 / (1 - quantile): below 1, so that one delayed request counts.
_PRIOR = 0.5
# Requests at the table's pace that the pace begins with.
_PACE_PRIOR = 2.0
# A machine a thousand times slower than itself is not one to plan for, and plans have to come back from there.
_MOST = 1000.0
# Weights are powers of two that grow with time; they are taken down before they leave what a float holds.
_MOST_HALF_LIVES = 500.0


@dataclass(frozen=True)
class _Seen:
    """One request.

    Attributes:
        observed_ms: how long it took.
        median_ms: how long it takes as a rule.
        delay_ms: what the pace at that time did not explain.
        weight: in units of a request at the moment `SlowDown` counts from.
    """

    observed_ms: float
    median_ms: float
    delay_ms: float
    weight: float


class SlowDown:
    """The pace and the delay of a machine, tracked as requests come and go. For many threads at once.

    >>> slow = SlowDown(quantile=0.99, clock=lambda: 0.0)
    >>> slow.observe(14.0, median_ms=10.0)
    >>> round(slow.pace, 3)  # (14 + 2 * 10) / (10 + 2 * 10)
    1.133
    >>> slow.delay_ms
    4.0

    Args:
        quantile: above 0 and below 1.
        clock: seconds, from any moment on.
        corrects: False: nothing is tracked, the pace stays 1 and the delay 0.
        half_life_s: in seconds, above 0.
    """

    def __init__(
        self,
        *,
        quantile: float,
        clock: Callable[[], float],
        corrects: bool = True,
        half_life_s: float = _HALF_LIFE_S,
    ) -> None:
        assert 0 < quantile < 1
        self._beyond, self._prior = 1 - quantile, _PRIOR / (1 - quantile)
        self._corrects, self._half_life_s, self._clock = corrects, half_life_s, clock
        self._lock = threading.Lock()
        self._since = clock()
        self._order: deque[_Seen] = deque()
        # The same by delay, the smallest first: (delay, weight).
        self._delays: list[tuple[float, float]] = []
        self._weight = self._observed_ms = self._median_ms = self._last_ms = 0.0

    @property
    def pace(self) -> float:
        """By which medians are multiplied now, 1 to 1000."""
        with self._lock:
            return self._pace(self._faded())

    @property
    def delay_ms(self) -> float:
        """What is added to them, at the quantile, in ms; below 0 where hardly a request is delayed."""
        with self._lock:
            return self._delay(self._faded())

    def now(self) -> tuple[float, float]:
        """The pace and the delay in ms."""
        with self._lock:
            faded = self._faded()
            return self._pace(faded), self._delay(faded)

    @property
    def is_felt(self) -> bool:
        """Whether plans are later than the table's medians alone would make them."""
        pace, delay_ms = self.now()
        return pace > 1 or delay_ms > 0

    def observe(self, observed_ms: float, *, median_ms: float) -> None:
        """Take in how long something took that takes `median_ms` as a rule; 0 and less is passed over."""
        if median_ms <= 0 or not self._corrects:
            return
        observed_ms = min(observed_ms, _MOST * median_ms)
        with self._lock:
            faded = self._faded()
            seen = _Seen(observed_ms, median_ms, observed_ms - self._pace(faded) * median_ms, 1 / faded)
            self._add(seen, 1)
            self._last_ms = median_ms
            self._order.append(seen)
            insort(self._delays, (seen.delay_ms, seen.weight))
            if len(self._order) > _WINDOW:
                self._drop(self._order.popleft())

    def _add(self, seen: _Seen, sign: int) -> None:
        self._weight += sign * seen.weight
        self._observed_ms += sign * seen.weight * seen.observed_ms
        self._median_ms += sign * seen.weight * seen.median_ms

    def _drop(self, seen: _Seen) -> None:
        del self._delays[bisect_left(self._delays, (seen.delay_ms, seen.weight))]
        self._add(seen, -1)

    def _faded(self) -> float:
        """What a weight counts now; by and by everything is counted from now on."""
        now = self._clock()
        half_lives = max(0.0, now - self._since) / self._half_life_s
        if half_lives <= _MOST_HALF_LIVES:
            return math.pow(0.5, half_lives)
        # What stands here is older than anything that has not faded away.
        faded = math.pow(0.5, min(half_lives, 1000.0))
        kept = [
            _Seen(seen.observed_ms, seen.median_ms, seen.delay_ms, seen.weight * faded)
            for seen in self._order
            if seen.weight * faded > 2.0**-50
        ]
        self._since, self._order = now, deque(kept)
        self._delays = sorted((seen.delay_ms, seen.weight) for seen in kept)
        self._weight = self._observed_ms = self._median_ms = 0.0
        for seen in kept:
            self._add(seen, 1)
        return 1.0

    def _pace(self, faded: float) -> float:
        begins_ms = _PACE_PRIOR * self._last_ms
        observed_ms, median_ms = (max(0.0, total) * faded for total in (self._observed_ms, self._median_ms))
        if begins_ms + median_ms <= 0:
            return 1.0
        return min(max((observed_ms + begins_ms) / (median_ms + begins_ms), 1.0), _MOST)

    def _delay(self, faded: float) -> float:
        """The smallest delay that no more than a share 1 - quantile is beyond; the table's requests have none."""
        left: float = self._beyond * (self._weight * faded + self._prior)
        prior = self._prior
        for delay_ms, weight in reversed(self._delays):
            if delay_ms <= 0 and prior > 0:
                left, prior = left - prior, 0.0
                if left < 0:
                    return 0.0
            left -= weight * faded
            if left < 0:
                return delay_ms
        return 0.0
