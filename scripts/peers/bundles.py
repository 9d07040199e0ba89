"""Our bundle as a user has it: `exitsearch.runtime` with a deadline, or interrupted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from exitsearch.deploy.verify import asking
from exitsearch.runtime import Session
from peers.asking import Array, Clock, Peer, Reply


class Deadline(Peer):
    """`predict(x, budget_ms=...)`: the budget is known when the request comes."""

    name = "bundle, contract"
    words = "our bundle, the budget known: the best exit that is in time at p99, by the table of its export"

    def __init__(
        self, session: Session, inputs: Sequence[Array], *, megabytes: float, clock: Clock = time.perf_counter
    ) -> None:
        self.megabytes = megabytes
        self._session, self._inputs, self._clock = session, inputs, clock

    def ask(self, sample: int, budget_ms: float) -> Reply:
        arrived = self._clock()
        answer = self._session.predict(self._inputs[sample], budget_ms=budget_ms, arrived=arrived)
        time_ms = (self._clock() - arrived) * 1e3
        return Reply(answer.outputs, time_ms, answer.exit, refused=answer.status == "refused")


class Interrupted(Peer):
    """`start(x)` and `answer()` when the budget ends: it is not known before."""

    name = "bundle, interruptible"
    words = "our bundle, the budget not known: the best exit that is finished when it ends"
    strikes: ClassVar[bool] = True

    def __init__(self, session: Session, inputs: Sequence[Array], *, megabytes: float) -> None:
        self.megabytes = megabytes
        self._inputs, self._ask = inputs, asking(session, "interruptible")

    def ask(self, sample: int, budget_ms: float) -> Reply:
        answer, had_ms = self._ask(self._inputs[sample], budget_ms)
        # What was taken was finished then, whatever the clock was read a moment before.
        return Reply(answer.outputs, answer.time_ms, answer.exit, budget_ms=max(had_ms, answer.time_ms))
