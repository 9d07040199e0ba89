"""How slow the machine is now, from what requests take: its pace, and by how much single requests are delayed.

A busy neighbour on the same core does two things. In the mean everything takes as much longer as it has a share of the
core: that is the pace, the sum of what was observed over the sum of what the table says. And whoever happens to run
when a turn of the scheduler ends waits for a whole turn of the neighbour, some milliseconds, however short its own work
is: requests of 0.8 and of 2.3 ms beside one neighbour were delayed by the same 4.5 ms, so that a factor learnt from one
is wrong for the other by a factor of three. That is the delay: a quantile of what is left of a request's time when the
table's own quantile of its work and the pace have been taken out. A plan is

    table's quantile + (pace - 1) * table's median + delay

and no less than the table's quantile, nor than its median at the pace.

The table knows which work varies by how much, so where it is right the delay is nothing, for every exit alike
(conformalized quantile regression: Romano, Patterson and Candes, 2019). The quantile of delays is that of the last
requests, each counted less the older it is (conformal prediction beyond exchangeability: Barber, Candes, Ramdas and
Tibshirani, 2023); where there are few, requests that were never delayed stand in for the rest, as the table says. So a
single delayed request is planned for at once and forgotten after seconds unless another follows; where requests are
many, a share 1 - quantile of them is late and no more; where everything is refused and nothing is observed, what is
known fades, and requests are tried again.

All of it is arithmetic over times that are given, so it is tested without a clock.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_HALF_LIFE_S = 2.0
# Requests that are looked back upon. Of 200 the second largest is the 99th percentile: where one request in 250 is held
# up by a turn of the scheduler, every fifth window has two, and small budgets are refused for nothing.
_WINDOW = 1000
# More of the largest delays than reach a share 1 - quantile where older ones count less.
_LOOKED_AT = 4
# So many requests in units of 1 / (1 - quantile) are few: below 1, so that one delayed request counts.
_PRIOR = 0.5
# Requests at the table's pace that the pace begins with.
_PACE_PRIOR = 2.0
# A machine a thousand times slower than itself is not one to plan for, and plans have to come back from there.
_MOST = 1000.0
# Rounding takes no part of a request away.
_TOLERANCE = 1e-9


class SlowDown:
    """The pace and the delay of a machine, tracked as requests come and go. For many threads at once.

    >>> slow = SlowDown(quantile=0.99, clock=lambda: 0.0)
    >>> slow.observe(14.0, median_ms=10.0, late_ms=11.0)
    >>> round(slow.pace, 3)  # (14 + 2 * 10) / (10 + 2 * 10)
    1.133
    >>> round(slow.delay_ms, 3)  # 14 - (11 + 0.133 * 10)
    1.667

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
        # The last requests: what each took, takes as a rule and at the quantile, in ms, and when it was observed.
        self._observed_ms, self._median_ms, self._late_ms, self._at = (np.zeros(_WINDOW) for _ in range(4))
        self._count, self._last_ms = 0, 0.0

    @property
    def pace(self) -> float:
        """By which medians are multiplied now, 1 to 1000."""
        return self.now()[0]

    @property
    def delay_ms(self) -> float:
        """What is added to the table's quantile at the pace, in ms; below 0 where fewer are late than it allows."""
        return self.now()[1]

    @property
    def is_felt(self) -> bool:
        """Whether plans are later than the table's medians alone would make them."""
        pace, delay_ms = self.now()
        return pace > 1 or delay_ms > 0

    def now(self) -> tuple[float, float]:
        """The pace, and the delay in ms; minus infinity where nothing is known of one."""
        with self._lock:
            filled = min(self._count, _WINDOW)
            if not filled:
                return 1.0, -math.inf
            observed_ms, median_ms = self._observed_ms[:filled], self._median_ms[:filled]
            age = np.maximum(self._clock() - self._at[:filled], 0.0)
            weights = np.exp2(-age / self._half_life_s)
            begins_ms = _PACE_PRIOR * self._last_ms
            pace = (float(weights @ observed_ms) + begins_ms) / (float(weights @ median_ms) + begins_ms)
            pace = min(max(pace, 1.0), _MOST)
            delays = observed_ms - (self._late_ms[:filled] + (pace - 1) * median_ms)
        return pace, self._delay(delays, weights)

    def observe(self, observed_ms: float, *, median_ms: float, late_ms: float | None = None) -> None:
        """Take in how long something took.

        Args:
            observed_ms: in ms.
            median_ms: that it takes as a rule; 0 and less is passed over.
            late_ms: that it takes at the quantile; None: as at the median, the table knows nothing of tails.
        """
        if median_ms <= 0 or not self._corrects:
            return
        with self._lock:
            place = self._count % _WINDOW
            self._observed_ms[place] = min(observed_ms, _MOST * median_ms)
            self._median_ms[place], self._at[place] = median_ms, self._clock()
            self._late_ms[place] = median_ms if late_ms is None else late_ms
            self._count, self._last_ms = self._count + 1, median_ms

    def _largest(self, delays: Array, weights: Array, wanted: float) -> NDArray[np.intp]:
        """The places of the largest delays, in order, as many as weigh what is wanted."""
        few = _LOOKED_AT * (int(self._beyond * len(delays)) + 1)
        if few < len(delays):
            top = np.argpartition(delays, -few)[-few:]
            if weights[top].sum() >= wanted:
                return top[np.argsort(-delays[top])]
        return np.argsort(-delays)

    def _delay(self, delays: Array, weights: Array) -> float:
        """The delay that a share 1 - quantile reaches; where there are few requests, others without one stand in."""
        total = float(weights.sum())
        others = max(0.0, self._prior - total)
        order = self._largest(delays, weights, self._beyond * (total + others))
        reached = np.cumsum(weights[order])
        # Those that stand in come behind every delay above 0.
        reached[delays[order] <= 0] += others
        wanted = self._beyond * (total + others)
        place = int(np.searchsorted(reached, wanted * (1 - _TOLERANCE)))
        found = float(delays[order[place]]) if place < len(order) else -math.inf
        # Where those that stand in are the ones that reach it, nothing is known of a delay.
        return found if found > 0 or others == 0 else -math.inf
