"""How peers without a latency table of their own know what is in time: measured here first, and corrected on line.

A bundle carries its times. The others are given what a careful user would measure, in an interleaved run right before
the comparison, and the correction of `exitsearch.runtime` on top: whatever is left between them is no matter of who
plans better.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from exitsearch.runtime.deadline import Times
from exitsearch.runtime.slow_down import SlowDown
from peers.asking import Clock

QUANTILE = 0.99
# Each call is made this often before its times count.
_WARM_UP = 5


def interleaved_times(
    calls: Mapping[str, Callable[[int], object]],
    *,
    samples: int,
    seconds: float,
    rng: np.random.Generator,
    clock: Clock = time.perf_counter,
) -> dict[str, list[float]]:
    """Times in ms of calls, in rounds that make each once, for so many seconds, at least one round.

    Args:
        calls: from the number of a sample, by name.
        samples: how many there are to draw from.
        seconds: for all of them, warm-up left out.
        rng: draws samples and orders.
        clock: seconds.
    """
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for sample in range(_WARM_UP):
            call(sample % samples)
    names, begin = list(calls), clock()
    while True:
        sample = int(rng.integers(samples))
        for position in rng.permutation(len(names)):
            arrived = clock()
            calls[names[position]](sample)
            found[names[position]].append((clock() - arrived) * 1e3)
        if clock() - begin >= seconds:
            return found


def times_of(measured_ms: Sequence[float]) -> Times:
    """Median and 99% quantile of what was measured."""
    median, late = np.quantile(measured_ms, [0.5, QUANTILE])
    return Times(float(median), float(late))


class Correction:
    """By how much budgets shrink on a machine that is slower than it was measured.

    A plan is the measured quantile, what the tracked pace adds to the median, and the tracked delay; that is the
    quantile against a budget which is smaller by as much.

    Args:
        whole: times of the longest way.
        clock: seconds.
    """

    def __init__(self, whole: Times, *, clock: Clock = time.perf_counter) -> None:
        self._slow_down = SlowDown(quantile=QUANTILE, clock=clock)
        self._spread = whole.late / whole.median

    def within(self, budget_ms: float) -> float:
        """What measured quantiles must not exceed, in ms."""
        pace, delay_ms = self._slow_down.now()
        at_pace = budget_ms / pace * self._spread
        return min(budget_ms, at_pace, (budget_ms - delay_ms) / (1 + (pace - 1) / self._spread))

    def observe(self, time_ms: float, *, median_ms: float) -> None:
        """Take in how long something took that takes `median_ms` as a rule."""
        self._slow_down.observe(time_ms, median_ms=median_ms, late_ms=median_ms * self._spread)
