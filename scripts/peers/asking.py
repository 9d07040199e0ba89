"""One interleaved run: in every round all peers answer the same input within the same budget.

The budget of an interruptible request is the moment at which it is really interrupted, which is a little later than the
one that was drawn (a thread wakes late). So that request stands first in its round, and the budget that it had is the
budget of all others in the round, in an order that is drawn anew each time.

An answer counts when it is in hand within the budget. One that comes later is worth what having none is worth.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from exitsearch.runtime.requests import LONGEST_MS
from exitsearch.specs.budget import BudgetDistribution

Array = NDArray[Any]
Clock = Callable[[], float]

# A budget of nothing, which a session refuses to read.
_LEAST_MS = 1e-6


@dataclass(frozen=True)
class Reply:
    """What came of one request.

    Attributes:
        outputs: of the answer [num_outputs]; None: there is none.
        time_ms: from the request's arrival until the answer, or the refusal, was in hand.
        exit: that answered, from 0; None: no answer.
        refused: whether nothing was computed, since no answer would have been in time.
        budget_ms: that the request had, where that is not the one that it was asked with.
    """

    outputs: Array | None
    time_ms: float
    exit: int | None = None
    refused: bool = False
    budget_ms: float | None = None


class Peer(ABC):
    """One way of answering.

    Attributes:
        name: in tables and JSON.
        words: what it is, for people.
        strikes: whether it decides when the round's budget ends; at most one peer does.
        megabytes: of its weights and graphs.
    """

    name: str
    words: str
    strikes: ClassVar[bool] = False
    megabytes: float

    @abstractmethod
    def ask(self, sample: int, budget_ms: float) -> Reply:
        """Answer one of the samples.

        Args:
            sample: its number.
            budget_ms: from now on.
        """


@dataclass(frozen=True)
class Round:
    """One round.

    Attributes:
        sample: number of the input.
        fixed_ms: the fixed budget that it was asked with; None: one was drawn.
        drawn_ms: the budget that was asked for.
        budget_ms: the budget that all had.
        replies: by the peer's name.
    """

    sample: int
    fixed_ms: float | None
    drawn_ms: float
    budget_ms: float
    replies: Mapping[str, Reply]


def drawn_budgets(
    distribution: BudgetDistribution, fixed_ms: Sequence[float], rng: np.random.Generator
) -> Iterator[tuple[float, bool]]:
    """Budgets in ms without end, and whether each is a fixed one: one is drawn, then comes a fixed one in turn."""
    position = 0
    while True:
        yield float(np.clip(distribution.quantile(float(rng.random())), _LEAST_MS, LONGEST_MS)), False
        if fixed_ms:
            yield fixed_ms[position % len(fixed_ms)], True
            position += 1


def interleave(
    peers: Sequence[Peer],
    budgets: Iterator[tuple[float, bool]],
    *,
    samples: int,
    seconds: float,
    rng: np.random.Generator,
    clock: Clock = time.perf_counter,
    progress: Callable[[float], None] | None = None,
) -> list[Round]:
    """Ask all peers for so many seconds, at least for one round.

    Args:
        peers: with names of their own.
        budgets: of the rounds, and whether each is a fixed one.
        samples: how many there are to draw from.
        seconds: for all of them together.
        rng: draws samples and orders.
        clock: seconds.
        progress: is called with the share of the time that has passed.
    """
    striking = [peer for peer in peers if peer.strikes]
    assert len(striking) <= 1
    others = [peer for peer in peers if not peer.strikes]
    rounds, begin = list[Round](), clock()
    for drawn_ms, is_fixed in budgets:
        sample, budget_ms = int(rng.integers(samples)), drawn_ms
        replies: dict[str, Reply] = {}
        for peer in striking:
            replies[peer.name] = reply = peer.ask(sample, drawn_ms)
            budget_ms = max(budget_ms, reply.budget_ms or 0.0)
        for position in rng.permutation(len(others)):
            replies[others[position].name] = others[position].ask(sample, budget_ms)
        rounds.append(Round(sample, drawn_ms if is_fixed else None, drawn_ms, budget_ms, replies))
        passed = clock() - begin
        if progress is not None:
            progress(min(1.0, passed / seconds))
        if passed >= seconds:
            break
    return rounds
