"""One request on its way through the graphs, as its policy decides.

`Work.run` is done by one thread; `best` may be asked by any other at any moment, and takes microseconds: answers are
appended to a list whole, so that whoever reads it sees each fully or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .deadline import Table, Times
from .graphs import NO_SIDE, Stopped, Units
from .policies import Found, Policy
from .slow_down import SlowDown

Arrays = NDArray[Any]


@dataclass(frozen=True)
class Best:
    """What counts for one input of a batch, so far.

    Attributes:
        exit: number of the exit.
        outputs: before the softmax [num_outputs].
        spent_ms: from the request's arrival to this exit's answer.
    """

    exit: int
    outputs: Arrays
    spent_ms: float


class Work:
    """One request.

    Args:
        units: what is run.
        policy: decides.
        table: for what was to be expected.
        slow_down: takes in what was observed.
        clock: seconds, from any moment on.
        arrived: when the request came, by the clock.
        rows: inputs in it.
        side: side inputs [rows, ...] by name.
        pauses: are told when it runs.
    """

    def __init__(
        self,
        units: Units,
        policy: Policy,
        *,
        table: Table,
        slow_down: SlowDown,
        clock: Callable[[], float],
        arrived: float,
        rows: int,
        side: Mapping[str, Arrays] = NO_SIDE,
        pauses: AbstractContextManager[None] | None = None,
    ) -> None:
        self._side, self._pauses = side, pauses or nullcontext()
        self._units, self._policy, self._table, self._slow_down = units, policy, table, slow_down
        self._clock, self._arrived, self._rows = clock, arrived, rows
        self._found: list[Found] = []
        # Exits at which each row left for good; none: it has not.
        self._left: dict[int, int] = {}
        self.stop = units.new_stop()
        self.stopped = False

    @property
    def spent_ms(self) -> float:
        """Since the request came."""
        return (self._clock() - self._arrived) * 1e3

    def end(self) -> None:
        """End what runs, from any thread; what was finished stays."""
        self.stopped = True
        self.stop.terminate = True

    def run(self, x: Arrays) -> None:
        """Run until the policy is content, or `end` is called.

        Args:
            x: inputs [batch, channels, height, width].

        Raises:
            RunError: a graph failed.
        """
        if self.stopped or not self._policy.goes_on(0, self.spent_ms):
            return  # nothing runs, so the pause goes on
        with self._pauses:
            self._run(x)

    def _run(self, x: Arrays) -> None:
        begin = self._clock()
        expected, spent = Times(0.0, 0.0), 0.0
        try:
            state, rows = self._begin(x), np.arange(self._rows)
            for position in range(self._policy.last + 1):
                if position and (self.stopped or not len(rows) or not self._policy.goes_on(position, self.spent_ms)):
                    break
                scale = self._table.scale(len(rows))
                state = self._units.segment(position, state, self.stop)
                head = not self.stopped and self._policy.runs_head(position, self.spent_ms)
                if head:
                    state, rows = self._answer(position, state, rows)
                expected += self._table.way(done=position, to=position, head=head).scaled(scale)
                if position == 0:
                    expected += self._policy.plan.beginning
                spent = (self._clock() - begin) * 1e3
        except Stopped:
            pass
        finally:
            # What was cut off is not taken in: how long it would have taken is not known.
            self._take_in(spent, expected)

    def _take_in(self, spent_ms: float, expected: Times) -> None:
        """How long it took, beside what its parts were expected to take."""
        late_ms = self._table.bounded(expected, scale=self._table.scale(self._rows)).late
        self._slow_down.observe(spent_ms, median_ms=expected.median, late_ms=late_ms)

    def _begin(self, x: Arrays) -> Any:
        """Units of models without side inputs need not know of them."""
        return self._units.begin(x, self._side) if self._side else self._units.begin(x)

    def _answer(self, position: int, state: Any, rows: Arrays) -> tuple[Any, Arrays]:
        """Run a head; the state and the rows that go on."""
        outputs = self._units.head(position, state, self.stop)
        assert len(outputs) == len(rows)
        return self._leave(Found(position, rows, outputs, self.spent_ms), state)

    def _leave(self, found: Found, state: Any) -> tuple[Any, Arrays]:
        """Take in what an exit answered; the state and the rows that go on."""
        position, rows = found.exit, found.rows
        leaves = self._policy.leaving(found)
        for row in rows[leaves]:
            self._left[int(row)] = position
        self._found.append(found)
        if not leaves.any():
            return state, rows
        stays = np.flatnonzero(~leaves)
        self._policy.plan.rows = max(1, len(stays))
        return (self._units.take(position, state, stays) if len(stays) else state), rows[stays]

    def best(self) -> Sequence[Best | None]:
        """What counts for every input now; None: nothing is finished. From any thread."""
        counts: list[tuple[Found, int] | None] = [None] * self._rows
        for found in tuple(self._found):
            for place, row in enumerate(found.rows.tolist()):
                before = counts[row]
                if before is None or self._counts(row, found.exit, before[0].exit):
                    counts[row] = (found, place)
        return [None if one is None else Best(one[0].exit, one[0].outputs[one[1]], one[0].spent_ms) for one in counts]

    def _counts(self, row: int, new: int, old: int) -> bool:
        """Whether the answer of a later exit counts in place of an earlier one's."""
        left = self._left.get(row)
        return new == left if left is not None else self._policy.better(new, old) == new
