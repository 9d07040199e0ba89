"""A request whose budget is not known: it runs on its own until somebody takes the best finished answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from .answer import Answer
from .errors import RunError
from .threads import Threads
from .work import Best, Work


class Started:
    """Work under way. Made by `Session.start`; as a context it ends the work when the context does.

    Args:
        work: of one input, not run yet.
        inputs: [1, channels, height, width].
        threads: to run it in.
        judge: an answer from what counts so far and the time that it took in ms.
    """

    def __init__(
        self,
        work: Work,
        inputs: NDArray[Any],
        *,
        threads: Threads,
        judge: Callable[[Best | None, float], Answer],
    ) -> None:
        self._work, self._judge = work, judge
        self._failure: BaseException | None = None
        self._taken: Answer | None = None
        self._lock = threading.Lock()
        self._done = threading.Event()
        threads.run(partial(self._run, inputs))

    def _run(self, inputs: NDArray[Any]) -> None:
        try:
            self._work.run(inputs)
        except BaseException as error:  # nobody would see it in this thread: it is raised where the answer is taken
            self._failure = error
        finally:
            self._done.set()

    def answer(self) -> Answer:
        """The best answer finished by now, at once; what still runs is ended. Later calls return the same.

        Raises:
            RunError: a graph failed before any exit had answered.
        """
        with self._lock:
            if self._taken is None:
                self._taken = self.peek()
                self._work.end()
            return self._taken

    def peek(self) -> Answer:
        """The best answer finished by now, at once; the work goes on.

        Raises:
            RunError: a graph failed before any exit had answered.
        """
        (best,) = self._work.best()
        # A graph that fails over an input leaves finished answers standing; a fault of ours does not.
        if self._failure is not None and (best is None or not isinstance(self._failure, RunError)):
            raise self._failure
        return self._judge(best, best.spent_ms if best else self._work.spent_ms)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing runs any more: True, or after so many seconds False."""
        return self._done.wait(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._work.end()
