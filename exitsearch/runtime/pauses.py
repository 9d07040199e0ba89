"""What a request pays for the pause before it.

While nothing runs, other programs take the caches, clocks fall and cores go to sleep, so the first request after a
pause takes longer, most of it in its first segment. Of models that answer in a millisecond it is a good part: the
bundle of the digits, whose exits answer in 0.4 to 3 ms, took 0.7 ms longer after 10 ms of nothing (docs/deployment.md).
A camera has a pause before every frame. So it is measured beside the table, and planned with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

# Pauses in ms, rising, and by how many ms a request takes longer after each.
PauseCosts = Sequence[tuple[float, float]]


def extra_after(after_pause: PauseCosts, pause_ms: float) -> float:
    """By how much a request takes longer, in ms: in proportion between two pauses, beyond the last one as there.

    >>> extra_after([(1.0, 0.1), (10.0, 0.5)], 0.5)
    0.05
    >>> extra_after([(1.0, 0.1), (10.0, 0.5)], 100.0)
    0.5
    """
    pauses = [0.0, *(pause for pause, _ in after_pause)]
    return float(np.interp(pause_ms, pauses, [0.0, *(extra for _, extra in after_pause)]))


class Pauses:
    """Keeps in mind when something last ran. For many threads at once, and for all sessions over the same graphs.

    Args:
        after_pause: measured.
        clock: seconds; something has run just now.
    """

    def __init__(self, after_pause: PauseCosts, *, clock: Callable[[], float]) -> None:
        self._after_pause, self._clock, self._lock = tuple(after_pause), clock, threading.Lock()
        self._running, self._ended = 0, clock()

    @property
    def extra_ms(self) -> float:
        """By how much a request that begins now takes longer than the table says; 0 while another one runs."""
        if not self._after_pause:
            return 0.0
        with self._lock:
            pause_s = 0.0 if self._running else self._clock() - self._ended
        return extra_after(self._after_pause, max(0.0, pause_s) * 1e3)

    def __enter__(self) -> None:
        """Something begins to run."""
        with self._lock:
            self._running += 1

    def __exit__(self, *_: object) -> None:
        """It has ended."""
        with self._lock:
            self._running, self._ended = self._running - 1, self._clock()
