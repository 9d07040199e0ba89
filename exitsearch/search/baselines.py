"""Baselines: what a user would do without a search. Each keeps to the limits, or is left out where it cannot."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from exitsearch.search.problem import Choice, Problem
from exitsearch.search.value import expected_value

Value = Callable[[Choice], float]


@dataclass(frozen=True)
class Baseline:
    """A named choice and its expected value under the problem's policy."""

    name: str
    choice: Choice
    value: float


def baselines(problem: Problem, *, value: Value | None = None) -> list[Baseline]:
    """Every baseline that keeps to the limits.

    The backbone alone; the best single exit; each head at every placement that it has; each head equally spaced, at
    its best number of exits; and greedy adding.

    Args:
        value: expected value of a choice; None takes the formula of the problem's policy.
    """
    value = value or partial(expected_value, problem)
    found: list[tuple[str, Choice]] = [("backbone alone", ())]
    singles = [(position,) for position in range(len(problem.candidates)) if problem.allows((position,))]
    if singles:
        found.append(("best single exit", max(singles, key=value)))
    for head in problem.heads:
        places = tuple(p for p, candidate in enumerate(problem.candidates) if candidate.head == head)
        found.append((f"{head} at every placement", places))
    for head in problem.heads:
        places = tuple(p for p, candidate in enumerate(problem.candidates) if candidate.head == head)
        spaced = [equally_spaced(places, count) for count in range(2, len(places))]
        if allowed := [choice for choice in spaced if problem.allows(choice)]:
            found.append((f"{head} equally spaced", max(allowed, key=value)))
    found.append(("greedy adding", greedy(problem, value=value)))
    return [Baseline(name, choice, value(choice)) for name, choice in found if problem.allows(choice)]


def equally_spaced(places: Choice, count: int) -> Choice:
    """Some of a head's places that cut the way to the final exit into parts as equal as can be.

    >>> equally_spaced((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10), 3)
    (2, 5, 8)

    Args:
        places: positions of one head at all its placements, in order; the final exit follows the last.
        count: how many to take, 1 to all of them.
    """
    assert 1 <= count <= len(places)
    # The final exit stands as one more place at the end, hence the two + 1. Halves are rounded up.
    return tuple(places[math.floor(i * (len(places) + 1) / (count + 1) + 0.5) - 1] for i in range(1, count + 1))


def greedy(problem: Problem, *, value: Value | None = None) -> Choice:
    """Add the exit that raises the expected value most, until none does or no more are allowed.

    Args:
        value: expected value of a choice; None takes the formula of the problem's policy.
    """
    value = value or partial(expected_value, problem)
    choice: Choice = ()
    worth = value(choice)
    while problem.max_exits is None or len(choice) < problem.max_exits:
        taken = {candidate.placement for candidate in problem.chosen(choice)}
        options = [
            tuple(sorted((*choice, position)))
            for position, candidate in enumerate(problem.candidates)
            if candidate.placement not in taken
        ]
        # Further exits can only break these limits, not the others.
        options = [option for option in options if all(over <= 0 for over in problem.overuse(option).values())]
        best = max(options, key=value, default=choice)
        if value(best) <= worth:
            break
        choice, worth = best, value(best)
    return choice
