"""One bundle as a service: its session, its line, its workers, its counters."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.requests import Request

from exitsearch.errors import InputError, shown
from exitsearch.runtime import Session
from exitsearch.serving.admission.forecast import Forecast, usual_preparation_ms
from exitsearch.serving.admission.line import Job, Line, Outcome
from exitsearch.serving.admission.workers import Workers
from exitsearch.serving.bounds import Bounds
from exitsearch.serving.metrics import Metrics
from exitsearch.serving.web.arrival import Gone, read_asked
from exitsearch.serving.web.guard import ARRIVED
from exitsearch.serving.web.replies import answer_content

# Without a budget of its own a request may take so many times what the final exit is planned with, and at least a
# second: large photographs take long to decode, and whoever names no deadline is in no hurry.
_PATIENCE, _LEAST_DEFAULT_MS = 4.0, 1000.0
_LONGEST_MS = 1e9
# Where Pillow is never asked, its time is never used.
_NO_PREPARATION_MS = 1.0


class Service:
    """Answers requests. Threads run between `start` and `close`.

    Args:
        session: that answers.
        bounds: of what is taken.
        budget_ms: where a request names none; None: four times what the final exit takes at the session's quantile, at
            least a second.
        clock: seconds; the session's own.

    Raises:
        InputError: the budget is out of its range, or the bundle has side inputs.
    """

    def __init__(
        self,
        session: Session,
        *,
        bounds: Bounds,
        budget_ms: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if side := list(session.manifest.side_inputs):
            raise InputError(
                f"a bundle that is served has one input, and heads of this one read the side inputs {', '.join(side)}; "
                "run it with exitsearch.runtime in a program of your own"
            )
        self.session, self.bounds, self.clock = session, bounds, clock
        images = session.manifest.preprocessing is not None
        preparation_ms = usual_preparation_ms(session, clock=clock) if images else _NO_PREPARATION_MS
        self.forecast = Forecast(session, preparation_ms=preparation_ms, clock=clock)
        self.line = Line(self.forecast, workers=bounds.workers, queue=bounds.queue, clock=clock)
        self.workers = Workers(session, self.line, self.forecast, count=bounds.workers, clock=clock)
        self.metrics = Metrics(session.exits)
        self.metrics.watch(self.line, slow_down=lambda: session.slow_down, delay_ms=lambda: session.delay_ms)
        self.default_ms = _default(self.forecast, images) if budget_ms is None else checked_budget(budget_ms)

    async def answer(self, request: Request) -> dict[str, Any]:
        """The content of the answer to a request.

        Raises:
            WrongRequest, Refused, RunError, Gone: there is none.
        """
        asked, outputs = await read_asked(
            request,
            self.session,
            bounds=self.bounds,
            default_ms=self.default_ms,
            arrived=request.scope[ARRIVED],
        )
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Outcome] = loop.create_future()

        def done(outcome: Outcome) -> None:
            # A second signal closes the loop with requests under way, whose answers nobody can be given.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, found, outcome)

        job = self.line.admit(asked, done)
        outcome = await self._outcome(found, job, request)
        if isinstance(outcome, Exception):
            raise outcome
        answer, ready = outcome
        now = self.clock()
        self.forecast.replied((now - ready) * 1e3)
        total_ms = (now - asked.arrived) * 1e3
        assert job.begun is not None
        waited_ms = (job.begun - asked.arrived) * 1e3
        content = answer_content(answer, self.session, asked, total_ms=total_ms, waited_ms=waited_ms, outputs=outputs)
        self.forecast.answered(in_time=content["in_time"])
        self.metrics.answered(exit_=content["exit"], in_time=content["in_time"], total_ms=total_ms, waited_ms=waited_ms)
        return content

    @staticmethod
    async def _outcome(found: asyncio.Future[Outcome], job: Job, request: Request) -> Outcome:
        """What comes of a job; where its sender goes away while it waits, it is not begun."""
        gone = asyncio.ensure_future(request.receive())
        either: set[asyncio.Future[Any]] = {found, gone}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not found.done():
                job.abandoned = True
                if job.begun is None:
                    raise Gone
            return await found
        finally:
            gone.cancel()

    def facts(self) -> dict[str, Any]:
        """What is served, and what requests are planned with now."""
        manifest, images = self.session.manifest, self.session.manifest.preprocessing is not None
        rest, now = self.forecast.at_rest(image=images), self.forecast.now(image=images)
        return {
            "model": manifest.model,
            "task": manifest.task,
            "num_outputs": manifest.num_outputs,
            "classes": list(manifest.classes) if manifest.classes else None,
            "input_size": list(manifest.input_size),
            "images": images,
            "format": manifest.format,
            "precision": manifest.precision,
            "policy": manifest.policy,
            "budget": manifest.budget,
            "exits": [
                {"name": name, "value": value, "planned_ms": round(planned, 3), "planned_now_ms": round(planned_now, 3)}
                for name, value, planned, planned_now in zip(
                    self.session.exits, manifest.values, rest.exits, now.exits, strict=True
                )
            ],
            "quantile": self.session.quantile,
            "slow_down": round(self.session.slow_down, 4),
            "delay_ms": round(self.session.delay_ms, 4),
            "preparation_ms": round(now.preparation, 3),
            "reply_ms": round(now.reply, 3),
            "least_budget_ms": round(rest.least, 3),
            "default_budget_ms": self.default_ms,
            "bounds": {
                name: getattr(self.bounds, name)
                for name in ("workers", "queue", "body_bytes", "pixels", "body_seconds", "connections")
            },
        }


def _settle(found: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not found.done():
        found.set_result(outcome)


def _default(forecast: Forecast, images: bool) -> float:
    costs = forecast.at_rest(image=images)
    return float(round(max(_LEAST_DEFAULT_MS, _PATIENCE * (costs.preparation + costs.exits[-1] + costs.reply))))


def checked_budget(budget_ms: float) -> float:
    """A default budget in ms.

    Raises:
        InputError: it is out of its range.
    """
    if isinstance(budget_ms, bool) or not isinstance(budget_ms, int | float) or not 0 < budget_ms <= _LONGEST_MS:
        raise InputError(
            f"the budget must be a number of ms above 0, at most {_LONGEST_MS:g}, found {shown(budget_ms)}; "
            "give a number in that range"
        )
    return float(budget_ms)


def usual_workers(threads: int) -> int:
    """Workers of a server: one for every so many cores of this process, one core kept free for everything else."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, (cores - 1) // threads)
