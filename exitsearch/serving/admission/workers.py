"""The threads that answer: each takes the next of the line, prepares its input, asks the session."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from io import BytesIO

import numpy as np

from exitsearch.runtime import Answer, RequestError, RunError, Session
from exitsearch.serving.admission.forecast import Forecast
from exitsearch.serving.admission.line import Job, Line, Outcome
from exitsearch.serving.faults import Refused, WrongRequest

_log = logging.getLogger("exitsearch.serving")


class Workers:
    """Threads over one session.

    Args:
        session: that answers.
        line: whose jobs they are.
        forecast: takes in what was observed.
        count: threads.
        clock: seconds; the session's own.
    """

    def __init__(
        self, session: Session, line: Line, forecast: Forecast, *, count: int, clock: Callable[[], float]
    ) -> None:
        self._session, self._line, self._forecast, self._clock = session, line, forecast, clock
        self._threads = [
            threading.Thread(target=self._work, name=f"exitsearch-worker-{number}", daemon=True)
            for number in range(count)
        ]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        """Whether every thread works, or the line has been closed."""
        return self._line.closing or all(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Answer what was admitted, and end."""
        self._line.close()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _work(self) -> None:
        while (job := self._line.take()) is not None:
            try:
                outcome = self.outcome(job)
            finally:
                self._line.finished(job)
            job.done(outcome)

    def outcome(self, job: Job) -> Outcome:
        """The answer to a job, or what went wrong with it."""
        try:
            answer = self._answer(job)
        except RequestError as error:
            return WrongRequest(422, str(error))
        except (RunError, Refused, WrongRequest) as error:
            return error
        except Exception as error:
            _log.error("a request failed (%s: %s)", type(error).__name__, error)
            return RunError(f"the request failed ({type(error).__name__}); see the log of the server")
        return answer, self._clock()

    def _answer(self, job: Job) -> Answer:
        asked, begin = job.asked, self._clock()
        if asked.image:
            x = self._session.prepare(BytesIO(asked.content))
            self._forecast.prepared((self._clock() - begin) * 1e3)
        else:
            x = np.frombuffer(asked.content, dtype="<f4").reshape(self._session.manifest.input_size)
        # What the way back takes is not the session's to spend.
        budget_ms = asked.budget_ms - self._forecast.reply_ms
        if budget_ms <= 0:
            raise overtaken(asked.budget_ms, needed_ms=None)
        answer = self._session.predict(
            x,
            budget_ms=budget_ms,
            confidence=asked.confidence,
            mean_budget_ms=asked.mean_budget_ms,
            arrived=asked.arrived,
        )
        if answer.status != "refused":
            return answer
        if asked.mean_budget_ms is not None and (lowest := self._lowest_point()) > asked.mean_budget_ms:
            raise WrongRequest(
                422,
                f"mean_budget_ms must be at least {lowest:g}, this bundle's lowest operating point, found "
                f"{asked.mean_budget_ms:g}",
            )
        raise overtaken(asked.budget_ms, needed_ms=answer.needed_ms)

    def _lowest_point(self) -> float:
        table = self._session.manifest.confidence
        return table.points[0].budget_ms if table and table.points else float("inf")


def overtaken(budget_ms: float, *, needed_ms: float | None) -> Refused:
    """The refusal of an admitted request whose time ran out before anything was computed."""
    return Refused(
        "overtaken",
        f"the machine has become slower since the request was admitted, and no exit answers within {budget_ms:g} ms "
        "any more; ask again in a moment",
        needed_ms=needed_ms,
    )
