"""The three policies as decisions on the way: whether to go on to the next segment, which heads to run, what counts.

One object decides for one request. A request passes segment 0, 1, ..., and behind segment k may run the head of exit k;
behind the last one stands the final exit, whose outputs come with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .deadline import Plan
from .scores import confidence

Arrays = NDArray[Any]


@dataclass(frozen=True)
class Found:
    """What an exit answered.

    Attributes:
        exit: its number; the final one is the last.
        rows: which inputs of the batch it answered [rows].
        outputs: before the softmax [rows, num_outputs].
        spent_ms: since the request came.
    """

    exit: int
    rows: Arrays
    outputs: Arrays
    spent_ms: float


class Policy(ABC):
    """Decides for one request.

    Args:
        values: value of every exit, the final one last.
        plan: what can be reached.

    Attributes:
        reads_answers: whether what an exit answers decides how it goes on: it must be known then before anything else.
    """

    reads_answers: ClassVar[bool] = False

    def __init__(self, values: Sequence[float], plan: Plan) -> None:
        self.values, self.plan = values, plan
        self.last = len(values) - 1

    @abstractmethod
    def goes_on(self, position: int, spent_ms: float) -> bool:
        """Whether segment `position` is to be run."""

    @abstractmethod
    def runs_head(self, position: int, spent_ms: float) -> bool:
        """Whether the head of exit `position` is to be run, its segment being done."""

    def leaving(self, found: Found) -> Arrays:
        """Which rows of an answer leave with it, as booleans [rows]."""
        return np.zeros(len(found.rows), dtype=np.bool_)

    def better(self, one: int, other: int) -> int:
        """The exit of two whose answer counts, of an input that has both and has left at neither."""
        return one if self.values[one] > self.values[other] else other


class Interruptible(Policy):
    """Every head on the way is run, until time is up; the best finished answer by validation value counts."""

    def goes_on(self, position: int, spent_ms: float) -> bool:  # noqa: D102
        return self.plan.fits(spent_ms, done=position, to=position)

    def runs_head(self, position: int, spent_ms: float) -> bool:  # noqa: D102
        return True


class Only(Policy):
    """One exit answers, whatever it takes; no other head is run.

    Args:
        exit_: its number.
    """

    def __init__(self, values: Sequence[float], plan: Plan, *, exit_: int) -> None:
        super().__init__(values, plan)
        self._exit = exit_

    def goes_on(self, position: int, spent_ms: float) -> bool:  # noqa: D102
        return position <= self._exit

    def runs_head(self, position: int, spent_ms: float) -> bool:  # noqa: D102
        return position == self._exit


class Contract(Policy):
    """The budget is known: only one head is run, that of the best exit that can still answer in time.

    The plan is made anew behind every segment: time that was saved buys a later exit, time that was lost an earlier
    one. Where none can answer in time any more, the head at hand is run all the same: late is better than nothing.
    """

    def __init__(self, values: Sequence[float], plan: Plan) -> None:
        super().__init__(values, plan)
        self._answered = False
        # The best first; of equal ones the earliest.
        self._order = sorted(range(len(values)), key=lambda position: -values[position])

    def goes_on(self, position: int, spent_ms: float) -> bool:  # noqa: D102
        # Behind a segment its head was declined for a later exit, which has been looked at just then.
        return not self._answered and (position > 0 or self._target(0, spent_ms, done=0) is not None)

    def runs_head(self, position: int, spent_ms: float) -> bool:  # noqa: D102
        target = self._target(position, spent_ms, done=position + 1)
        self._answered = target is None or target == position
        return self._answered

    def _target(self, first: int, spent_ms: float, *, done: int) -> int | None:
        """The best exit from `first` on that answers in time."""
        still = (position for position in self._order if position >= first)
        return next((position for position in still if self.plan.fits(spent_ms, done=done, to=position)), None)


class Confident(Policy):
    """An input leaves at the first exit that is sure enough; with a deadline, at the last that can be in time.

    Args:
        thresholds: an input leaves where its score is at least this, one an exit; None: nothing leaves there, and its
            head is not run but under `patience`.
        score: `softmax`, `entropy`, `margin` or `patience`.
        temperatures: one an exit.
    """

    reads_answers = True

    def __init__(
        self,
        values: Sequence[float],
        plan: Plan,
        *,
        thresholds: Sequence[float | None],
        score: str,
        temperatures: Sequence[float],
    ) -> None:
        super().__init__(values, plan)
        self._thresholds, self._score, self._temperatures = thresholds, score, temperatures
        self._runs = [t is not None or score == "patience" for t in thresholds] + [True]
        self._answered = False
        # Under patience, of every row: the class that the last exit gave it, and how often in a row it was the same.
        self._classes = np.full(plan.rows, -1, dtype=np.int64)
        self._agreed = np.zeros(plan.rows, dtype=np.float32)

    def goes_on(self, position: int, spent_ms: float) -> bool:  # noqa: D102
        if position > 0 and not self._answered:
            return True  # a later exit was looked at just then, behind the segment before
        if self.plan.fits(spent_ms, done=position, to=self._next(position)):
            return True
        # Without an answer yet, the first exit may do, though its head would not have been run.
        return not self._answered and self.plan.fits(spent_ms, done=position, to=position)

    def runs_head(self, position: int, spent_ms: float) -> bool:  # noqa: D102
        wanted = self._runs[position] or not (
            self._answered or self.plan.fits(spent_ms, done=position + 1, to=self._next(position + 1))
        )
        self._answered |= wanted
        return wanted

    def leaving(self, found: Found) -> Arrays:  # noqa: D102
        if found.exit == self.last:
            return np.ones(len(found.rows), dtype=np.bool_)
        threshold = self._thresholds[found.exit]
        if self._score == "patience":
            classes = found.outputs.argmax(axis=1)
            agree = classes == self._classes[found.rows]
            self._agreed[found.rows] = np.where(agree, self._agreed[found.rows] + 1, 0)
            self._classes[found.rows] = classes
            scores = self._agreed[found.rows]
        elif threshold is not None:
            scores = confidence(found.outputs, score=self._score, temperature=self._temperatures[found.exit])
        if threshold is None:
            return np.zeros(len(found.rows), dtype=np.bool_)
        # In float32, as the thresholds were chosen (exitsearch/search/thresholds/replay.py).
        return np.asarray(scores >= np.float32(threshold))

    def _next(self, position: int) -> int:
        """The first exit from `position` on whose head is run."""
        return next(k for k in range(position, self.last + 1) if self._runs[k])
