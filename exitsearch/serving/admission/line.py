"""Who waits, and who is not let in: a request is admitted when it can be answered by its deadline behind those before.

First come, first served, so that nobody who was admitted is put back by a later one. For each request that waits it is
known what it will do: wait for a worker, then run the best exit that is still in time. So the line is played through
with planned times, and where the newcomer's turn comes so late that not even the earliest exit would be in time, it is
refused at once: whoever sent it hears so in a millisecond instead of waiting for a miss.

Under load a request that has waited answers from an earlier exit, which makes the line shorter: a server with exits
loses accuracy before it refuses.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from exitsearch.runtime import Answer
from exitsearch.serving.admission.forecast import TOLERANCE_MS, Costs, Forecast
from exitsearch.serving.faults import Refused

# Half of what is known of a slow machine is forgotten in this time, where nothing else is learnt.
_SLOW_RETRY_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What somebody wants.

    Attributes:
        content: an image file's bytes, or an input's numbers.
        image: whether it is an image.
        budget_ms: from `arrived` to the answer.
        arrived: by the clock, in s.
        confidence: the score at which the input leaves; None: the best exit in time answers.
        mean_budget_ms: for the bundle's own operating points; None as above.
    """

    content: bytes
    image: bool
    budget_ms: float
    arrived: float
    confidence: float | None = None
    mean_budget_ms: float | None = None

    @property
    def every_head(self) -> bool:
        """Whether heads on the way are run."""
        return self.confidence is not None or self.mean_budget_ms is not None


# An answer and when the worker had it, or what went wrong.
Outcome = tuple[Answer, float] | Exception


@dataclass(eq=False)
class Job:
    """An admitted request.

    Attributes:
        asked: what is wanted.
        done: is called once, from a worker's thread.
        abandoned: whoever asked is gone.
        begun: when a worker took it, by the clock; None: it waits.
        ends: when it was planned to be done.
    """

    asked: Asked
    done: Callable[[Outcome], None]
    abandoned: bool = False
    begun: float | None = None
    ends: float = field(default=0.0, repr=False)


class Line:
    """The line of one server. For many threads at once.

    Args:
        forecast: of what requests take.
        workers: that serve it.
        queue: requests that may wait.
        clock: seconds.
    """

    def __init__(self, forecast: Forecast, *, workers: int, queue: int, clock: Callable[[], float]) -> None:
        self._forecast, self._workers, self._most, self._clock = forecast, workers, queue, clock
        self._waiting: deque[Job] = deque()
        self._running: set[Job] = set()
        self._changed = threading.Condition()
        self._closing = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many are being answered."""
        return len(self._running)

    @property
    def closing(self) -> bool:
        """Whether nobody is admitted any more."""
        return self._closing

    def admit(self, asked: Asked, done: Callable[[Outcome], None]) -> Job:
        """Let a request wait.

        Raises:
            Refused: it could not be answered in time.
        """
        costs = self._forecast.now(image=asked.image)
        with self._changed:
            if self._closing:
                raise Refused("closing", "the server is shutting down; ask another, or again in a moment")
            now = self._clock()
            self._check_alone(asked, costs, now)
            # A worker that is free takes it at once, so it does not wait.
            if len(self._waiting) >= self._most + self._workers - len(self._running):
                raise Refused(
                    "full",
                    f"{len(self._waiting)} requests wait already, as many as may; ask again in a moment",
                    retry_s=max(self._turn(costs, now) - now, 0.0),
                )
            self._check_turn(asked, costs, now)
            job = Job(asked, done)
            self._waiting.append(job)
            self._changed.notify()
        return job

    def _check_alone(self, asked: Asked, costs: Costs, now: float) -> None:
        """Were nobody before it."""
        left = asked.budget_ms - (now - asked.arrived) * 1e3
        if costs.least <= left + TOLERANCE_MS:
            return
        rest = self._forecast.at_rest(image=asked.image, paused=True).least
        needed = costs.least + (now - asked.arrived) * 1e3
        if rest > asked.budget_ms:
            raise Refused(
                "budget",
                f"no exit answers within {asked.budget_ms:g} ms here: {rest:.3g} ms is the least; allow more",
                needed_ms=needed,
            )
        self._forecast.refused()
        raise Refused(
            "slow",
            f"no exit answers within {asked.budget_ms:g} ms now: {needed:.3g} ms are needed, since the machine or the "
            "request itself is slow; allow more, or ask again in a moment",
            needed_ms=needed,
            retry_s=_SLOW_RETRY_S,
        )

    def _check_turn(self, asked: Asked, costs: Costs, now: float) -> None:
        """Behind those before it."""
        turn = self._turn(costs, now)
        needed = (turn - asked.arrived) * 1e3 + costs.least
        if needed > asked.budget_ms + TOLERANCE_MS:
            raise Refused(
                "queue",
                f"no exit answers within {asked.budget_ms:g} ms behind those that wait: {needed:.3g} ms are needed; "
                "allow more, or ask again in a moment",
                needed_ms=needed,
                retry_s=(needed - asked.budget_ms) / 1e3,
            )

    def _turn(self, costs: Costs, now: float) -> float:
        """When a worker takes up whoever comes now, by the clock."""
        free = [self._end(job, now) for job in self._running]
        free += [now] * (self._workers - len(free))
        heapq.heapify(free)
        for job in self._waiting:
            if not job.abandoned:
                begin = free[0]
                heapq.heapreplace(free, begin + self._work_s(job, begin, costs))
        return free[0]

    def _work_s(self, job: Job, begin: float, costs: Costs) -> float:
        left = job.asked.budget_ms - (begin - job.asked.arrived) * 1e3
        return costs.work(left, every_head=job.asked.every_head) / 1e3

    @staticmethod
    def _end(job: Job, now: float) -> float:
        """When a running job is done; one that is late already is expected to be as late again."""
        return job.ends if job.ends > now else now + (now - job.ends)

    def take(self) -> Job | None:
        """Wait for the next job and begin it; None: there is none any more."""
        with self._changed:
            while True:
                while self._waiting:
                    job = self._waiting.popleft()
                    if job.abandoned:
                        continue
                    job.begun = self._clock()
                    job.ends = job.begun + self._work_s(job, job.begun, self._forecast.now(image=job.asked.image))
                    self._running.add(job)
                    return job
                if self._closing:
                    return None
                self._changed.wait()

    def finished(self, job: Job) -> None:
        """A job is done."""
        with self._changed:
            self._running.discard(job)

    def close(self) -> None:
        """Admit nobody any more; who waits is still served."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()


def retry_after(seconds: float) -> str:
    """The header `Retry-After`, which holds whole seconds (RFC 9110, section 10.2.3): 1 at the least."""
    return str(max(1, math.ceil(min(seconds, 3600.0))))
