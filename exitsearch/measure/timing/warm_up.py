"""Warm-up: rounds whose times are thrown away, by one rule for everything that is timed.

At least 0.2 s, at least so many rounds, and until the plain backbone's running median is flat. A device that idled
raises its clocks only under load, and libraries choose their kernels when they first run.
"""

from __future__ import annotations

from collections.abc import Callable

from exitsearch.measure.timing import statistics
from exitsearch.measure.timing.clock import Clock

WARM_UP_S = 0.2
# Warm-up ends here even if the running median still moves; the verdict will find the drift.
LONGEST_WARM_UP_S = 3.0
# The running median is flat when its later half is within this of its earlier half.
FLAT = 0.02
# Passes of the plain backbone that the running median is taken over, and the fewest that say anything.
_RECENT, _FEWEST = 20, 6


def warm_up(one_round: Callable[[], float], clock: Clock, *, fewest_rounds: int = 1) -> float:
    """Run rounds until the machine is warm.

    Args:
        one_round: runs a round; returns the time of its pass of the plain backbone in ms.
        clock: tells how long it took.
        fewest_rounds: at least so many.

    Returns:
        How long it took, in seconds.
    """
    begin, whole = clock.now_s(), list[float]()
    while True:
        whole.append(one_round())
        spent = clock.now_s() - begin
        recent = whole[-_RECENT:]
        flat = len(recent) >= _FEWEST and abs(statistics.drift(recent)) <= FLAT
        if len(whole) >= fewest_rounds and ((spent >= WARM_UP_S and flat) or spent >= LONGEST_WARM_UP_S):
            return spent
