"""Ask a session again and again with budgets drawn from a distribution, and keep what came of each request.

Requests come one after the other. How one is asked is a function from an input and a budget (an `Ask`), so that the
loop and all that is made of it are tested without a clock. Under `interruptible` the budget really strikes: this thread
waits for it while the session's own thread works, and takes what is finished. It wakes late, by 0.1 ms on a quiet
machine and by several beside a neighbour. The budget of such a request is therefore the moment at which it struck, and
predictions are made for those budgets; by how much they missed the ones that were drawn is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from exitsearch.deploy.given import Given, beside, divided_inputs
from exitsearch.runtime import Answer
from exitsearch.runtime.requests import LONGEST_MS
from exitsearch.specs.budget import BudgetDistribution
from exitsearch.specs.question.request import Policy

Clock = Callable[[], float]

_LONGEST_REST_S = 1.0
# A budget of nothing, which a session refuses to read.
_LEAST_MS = 1e-6


class Struck(Protocol):
    """What `Session.start` returns."""

    def answer(self) -> Answer:
        """The best finished answer."""

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until nothing runs any more."""


class Asked(Protocol):
    """What is verified of a session."""

    def predict(
        self,
        x: Any,
        *,
        side: Mapping[str, NDArray[Any]] | None = None,
        budget_ms: float | None = None,
        mean_budget_ms: float | None = None,
        arrived: float | None = None,
    ) -> Answer:
        """Answer one input."""

    def start(self, x: Any, *, side: Mapping[str, NDArray[Any]] | None = None, arrived: float | None = None) -> Struck:
        """Begin to answer one input."""


@dataclass(frozen=True)
class Request:
    """One request and what came of it.

    Attributes:
        sample: number of the input.
        drawn_ms: the budget that was drawn.
        budget_ms: the budget that it had: where it was interrupted, the moment of that.
        status: of the answer.
        exit: that answered; None: no answer.
        value: what the answer is worth, or having none.
        time_ms: from its arrival to its answer.
        extra_ms: that it was planned to take longer, for the pause before it.
    """

    sample: int
    drawn_ms: float
    budget_ms: float
    status: str
    exit: int | None
    value: float
    time_ms: float
    extra_ms: float = 0.0

    @property
    def late_ms(self) -> float:
        """By how much an answer came behind its budget; 0: it did not."""
        return 0.0 if self.exit is None else max(0.0, self.time_ms - self.budget_ms)


# From an input and a budget in ms to an answer, and the budget that it really had.
Ask = Callable[[Given, float], tuple[Answer, float]]
# From the number of a sample and the answer to it, or a status without one, to its value.
Worth = Callable[[int, Answer], float]


def asking(session: Asked, policy: Policy, *, clock: Clock = time.perf_counter) -> Ask:
    """How a session is asked under a policy.

    Args:
        session: that answers.
        policy: `interruptible` interrupts, `contract` gives a hard deadline, `confidence` a limit of the mean.
        clock: seconds; the session's own.
    """

    def interrupt(given: Given, budget_ms: float) -> tuple[Answer, float]:
        x, side = divided_inputs(given)
        arrived = clock()
        started = session.start(x, **beside(side), arrived=arrived)
        started.wait(max(0.0, budget_ms / 1e3 - (clock() - arrived)))
        struck_ms = (clock() - arrived) * 1e3
        answer = started.answer()
        started.wait()  # what runs on would stand in the next request's way
        # Struck before its time, everything was finished, and more time would have changed nothing.
        return answer, max(budget_ms, struck_ms)

    def contract(given: Given, budget_ms: float) -> tuple[Answer, float]:
        x, side = divided_inputs(given)
        return session.predict(x, **beside(side), budget_ms=budget_ms, arrived=clock()), budget_ms

    def mean(given: Given, budget_ms: float) -> tuple[Answer, float]:
        x, side = divided_inputs(given)
        return session.predict(x, **beside(side), mean_budget_ms=budget_ms, arrived=clock()), budget_ms

    asks: dict[Policy, Ask] = {"interruptible": interrupt, "contract": contract, "confidence": mean}
    return asks[policy]


def observe(
    asks: Mapping[str, Ask],
    inputs: Sequence[Given],
    budget: BudgetDistribution,
    *,
    worth: Worth,
    seconds: float,
    rng: np.random.Generator,
    clock: Clock = time.perf_counter,
    rest: Callable[[float], None] = time.sleep,
    pause_s: float = 0.0,
    extra: Callable[[], float] = lambda: 0.0,
    progress: Callable[[float], None] | None = None,
) -> dict[str, list[Request]]:
    """Ask for so many seconds, at least once.

    Args:
        asks: ways of asking by name; each is asked every drawn budget and sample, in turns that begin with another one
            each time, so that what disturbs one disturbs all.
        inputs: of which one is drawn each time.
        budget: in ms.
        worth: values answers.
        seconds: for all of them together.
        rng: draws.
        clock: seconds.
        rest: waits so many seconds. A refused request has its budget pass before the next one comes: refusals take no
            time, and a loop without a pause would ask thousands of them while one answer is computed.
        pause_s: to wait before every request, as between two frames of a camera.
        extra: by how much a request that begins now takes longer, for the pause before it, in ms.
        progress: is called with the share of the time that has passed.
    """
    found: dict[str, list[Request]] = {name: [] for name in asks}
    names, begin = list(asks), clock()
    while True:
        sample = int(rng.integers(len(inputs)))
        drawn_ms = float(np.clip(budget.quantile(float(rng.random())), _LEAST_MS, LONGEST_MS))
        names = [*names[1:], names[0]]
        for name in names:
            if pause_s:
                rest(pause_s)
            asked, extra_ms = clock(), extra()
            answer, budget_ms = asks[name](inputs[sample], drawn_ms)
            value = worth(sample, answer)
            found[name].append(
                Request(sample, drawn_ms, budget_ms, answer.status, answer.exit, value, answer.time_ms, extra_ms)
            )
            if answer.status == "refused":
                rest(max(0.0, min(drawn_ms / 1e3, _LONGEST_REST_S) - (clock() - asked)))
        passed = clock() - begin
        if progress is not None:
            progress(min(1.0, passed / seconds))
        if passed >= seconds:
            return found
