"""Baselines: what a user would do without a search. Each keeps to the most exits, or is left out where it cannot."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from exitsearch.search.problem import Choice, Problem
from exitsearch.search.value import expected_value


@dataclass(frozen=True)
class Baseline:
    """A named choice and its expected value under the problem's policy."""

    name: str
    choice: Choice
    value: float


def baselines(problem: Problem) -> list[Baseline]:
    """Every baseline that keeps to the most exits.

    The backbone alone; the best single exit; each head at every placement that it has; each head equally spaced, at
    its best number of exits; and greedy adding.
    """
    found = [_scored(problem, "backbone alone", ())]
    if problem.max_exits != 0 and problem.candidates:
        single = max(((position,) for position in range(len(problem.candidates))), key=_value_of(problem))
        found.append(_scored(problem, "best single exit", single))
    for head in problem.heads:
        places = tuple(p for p, candidate in enumerate(problem.candidates) if candidate.head == head)
        if problem.allows(places):
            found.append(_scored(problem, f"{head} at every placement", places))
    for head in problem.heads:
        places = tuple(p for p, candidate in enumerate(problem.candidates) if candidate.head == head)
        spaced = [equally_spaced(places, count) for count in range(2, len(places))]
        if allowed := [choice for choice in spaced if problem.allows(choice)]:
            found.append(_scored(problem, f"{head} equally spaced", max(allowed, key=_value_of(problem))))
    found.append(_scored(problem, "greedy adding", greedy(problem)))
    return found


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


def greedy(problem: Problem) -> Choice:
    """Add the exit that raises the expected value most, until none does or no more are allowed."""
    choice: Choice = ()
    value = expected_value(problem, choice)
    while problem.max_exits is None or len(choice) < problem.max_exits:
        taken = {candidate.placement for candidate in problem.chosen(choice)}
        options = [
            tuple(sorted((*choice, position)))
            for position, candidate in enumerate(problem.candidates)
            if candidate.placement not in taken
        ]
        best = max(options, key=_value_of(problem), default=choice)
        best_value = expected_value(problem, best)
        if best_value <= value:
            break
        choice, value = best, best_value
    return choice


def _scored(problem: Problem, name: str, choice: Choice) -> Baseline:
    return Baseline(name, choice, expected_value(problem, choice))


def _value_of(problem: Problem) -> Callable[[Choice], float]:
    return lambda choice: expected_value(problem, choice)
