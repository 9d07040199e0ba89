"""Looks how slow the machine is while requests are refused, since a request that is refused shows nothing.

Without it a session could only forget what it knows, and try requests again that may well come late. So now and then,
when a request has been refused, the first exit is run over zeros, twice, in a thread of its own, and the second time is
taken in like any request's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from .threads import Threads

# At least so long between two looks, and at least so many times as long as the last one took.
_EVERY_S, _EVERY_TIMES = 0.1, 20.0


class Lookout:
    """Looks at most ten times a second and a twentieth of the time.

    Args:
        look: runs something whose time is taken in; what it raises is passed over.
        threads: to run it in.
        clock: seconds.
    """

    def __init__(self, look: Callable[[], object], *, threads: Threads, clock: Callable[[], float]) -> None:
        self._look, self._threads, self._clock = look, threads, clock
        self._lock = threading.Lock()
        self._looking, self._next = False, clock()

    def refused(self) -> None:
        """A request has been refused: look, if it is time to. Returns at once."""
        with self._lock:
            if self._looking or self._clock() < self._next:
                return
            self._looking = True
        try:
            self._threads.run(self._run)
        except Exception:  # no thread to be had: the refusal is answered all the same
            self._done(0.0)

    def _run(self) -> None:
        begin = self._clock()
        try:
            self._look()
        except Exception:  # over zeros a graph may fail that does not over images; then nothing is learnt
            pass
        finally:
            self._done(self._clock() - begin)

    def _done(self, took_s: float) -> None:
        with self._lock:
            self._looking = False
            self._next = self._clock() + max(_EVERY_S, _EVERY_TIMES * took_s)
