"""One request on a device with a queue: the host runs ahead, and waits only where the policy needs an answer.

    contract         segment 0 | segment 1 | head 1 | (wait)                         one wait, behind the chosen exit
    confidence       segment 0 | head 0 | (wait, read) | segment 1 | head 1 | (wait, read) | ...
    interruptible    segment 0 | head 0 | segment 1 | head 1 | ...                   an event behind every head

Where nothing is waited for, the host's clock says little about how far the work is: a plan counts from the last moment
at which both stood at the same point. Interruptible work keeps at most `AHEAD` exits in the queue behind the one that
runs, since what was handed over cannot be taken back: whoever comes next waits for no more than that.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitsearch.deploy.cuda.units import CudaUnits, Pending, Place
from exitsearch.runtime import RunError
from exitsearch.runtime.deadline import Plan, Times
from exitsearch.runtime.graphs import Stopped
from exitsearch.runtime.policies import Found
from exitsearch.runtime.work import Best, Work

Arrays = NDArray[Any]

# Exits in the queue behind the one that runs: one keeps the device busy, each more delays whoever comes next.
AHEAD = 1


class QueuedPlan(Plan):
    """A plan of work that is handed over long before it is done."""

    _met_ms, _met_done = 0.0, 0

    def meet(self, spent_ms: float, *, done: int) -> None:
        """The device has nothing more to do, behind so many segments; the time since the request came."""
        self._met_ms, self._met_done = spent_ms, done

    def hand_over(self, spent_ms: float, *, position: int) -> None:
        """A segment is handed over now; where the device must have had nothing left to do, they meet here."""
        if spent_ms > self._met_ms + self.needs_ms(done=self._met_done, to=position - 1, head=False):
            self.meet(spent_ms, done=position)

    def fits(self, spent_ms: float, *, done: int, to: int) -> bool:
        """Whether exit `to` answers in time: neither the work since the last meeting nor the host is too late for it.

        Args:
            spent_ms: on the host's clock.
            done: segments that were handed over.
            to: an exit.
        """
        rest = super().fits(spent_ms, done=done, to=to)
        return rest and super().fits(self._met_ms, done=self._met_done, to=to)


class QueuedWork(Work):
    """One request; arguments as for `Work`, over `CudaUnits` and with a `QueuedPlan`."""

    def __init__(self, units: CudaUnits, *arguments: Any, **named: Any) -> None:
        super().__init__(units, *arguments, **named)
        self._cuda = units
        # Answers on their way, in order, with the rows they are of; whoever looks first takes them in.
        self._pending: list[tuple[Pending, Arrays]] = []
        self._looking = threading.Lock()
        self._failure: RunError | None = None
        self._begun_ms = 0.0
        # What it takes to behind each exit that was asked, from the begin of the pass.
        self._expected: dict[int, Times] = {}

    def run(self, x: Arrays) -> None:
        """Run until the policy is content, or `end` is called; then until the device has nothing left of it.

        Args:
            x: inputs [batch, channels, height, width].

        Raises:
            RunError: outputs are not finite numbers.
        """
        with self._cuda.turn():
            self._pass(x)
            # Answers of a request that was ended are finished, too, once nothing runs; the buffers are read now.
            self._wait(leave=0)
            self._observe()
        if self._failure is not None:
            raise self._failure

    def best(self) -> Any:
        """What counts for every input now, as `Work.best`: whatever the device has finished by now counts."""
        self._look()
        found: list[Best | None] = list(super().best())
        return found

    def _pass(self, x: Arrays) -> None:
        plan = self._policy.plan
        assert isinstance(plan, QueuedPlan)
        self._begun_ms = self.spent_ms
        plan.meet(self._begun_ms, done=0)
        state: Place | None = None
        rows, expected = np.arange(self._rows), Times(0.0, 0.0)
        try:
            for position in range(self._policy.last + 1):
                self._wait(leave=AHEAD)
                if self.stopped or not len(rows) or not self._policy.goes_on(position, self.spent_ms):
                    break
                scale = self._table.scale(len(rows))
                if state is None:
                    state = self._begin(x)
                else:
                    plan.hand_over(self.spent_ms, position=position)
                state = self._cuda.segment(position, state, self.stop)
                head = not self.stopped and self._policy.runs_head(position, self.spent_ms)
                expected += self._table.way(done=position, to=position, head=head).scaled(scale)
                if head:
                    self._expected[position] = expected
                    state, rows = self._asked(position, state, rows)
        except Stopped:
            pass

    def _asked(self, position: int, state: Place, rows: Arrays) -> tuple[Place, Arrays]:
        """Hand a head over, and wait where the policy has to know its answer; the state and the rows that go on."""
        pending = self._cuda.ask(position, state)
        if not self._policy.reads_answers:
            with self._looking:
                self._pending.append((pending, rows))
            return state, rows
        outputs = self._cuda.checked(position, pending.wait())
        found = Found(position, rows, outputs, self.spent_ms)
        assert isinstance(self._policy.plan, QueuedPlan)
        self._policy.plan.meet(found.spent_ms, done=position + 1)
        return self._leave(found, state)

    def _wait(self, *, leave: int) -> None:
        """Wait until so many answers are left on their way."""
        while len(waiting := tuple(self._pending)) > leave:
            waiting[0][0].wait()
            self._look()

    def _look(self) -> None:
        """Take in what has arrived, in order."""
        with self._looking:
            while self._pending:
                pending, rows = self._pending[0]
                outputs = pending.poll()
                if outputs is None:
                    return
                try:
                    self._cuda.checked(pending.position, outputs)
                    self._found.append(Found(pending.position, rows, outputs, self._begun_ms + pending.after_ms))
                except RunError as error:
                    self._failure = error
                del self._pending[0]

    def _observe(self) -> None:
        """Take in how slow it was: to the end on the host's clock, or up to where the request was ended."""
        if self._found:
            last = self._found[-1]
            until_ms = last.spent_ms if self.stopped or self._policy.reads_answers else self.spent_ms
            self._take_in(until_ms - self._begun_ms, self._expected[last.exit])
