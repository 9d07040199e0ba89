"""Limits on a choice: what the two exact solvers share about them, and how a problem gets them.

Both solvers drop a label as soon as it breaks a limit on exits or on a resource, and let a label stand in for another
only if it takes no more of any limited resource and keeps to the same minimum values. To know early what is worth
carrying on, they need a good choice that keeps to the limits: a good one without limits, from which exits are taken
until it does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from exitsearch.errors import InputError
from exitsearch.search.problem import Array, Choice, Problem
from exitsearch.search.resources import RESOURCES
from exitsearch.specs.budget import latest_in_time


@dataclass(frozen=True)
class Quotas:
    """The resources of which all heads of a choice together may only take so much, as columns of arrays.

    Attributes:
        most: what is left for the heads of each [resources].
        takes: what each candidate takes [candidates, resources].
    """

    most: Array
    takes: Array

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Those of a problem. Where a limit speaks of each answer alone, it sums up nothing and is none of them."""
        rows = [row for name, row in RESOURCES.items() if name in problem.limits and row.is_summed(problem.policy)]
        takes = [[candidate.amount(row.amount) for row in rows] for candidate in problem.candidates]
        return cls(
            most=np.array([problem.left(row.name) for row in rows], dtype=np.float64),
            takes=np.array(takes, dtype=np.float64).reshape(len(problem.candidates), len(rows)),
        )

    def __len__(self) -> int:
        return len(self.most)


def affordable(problem: Problem, position: int) -> bool:
    """Whether a candidate keeps to the limits that speak of each answer alone."""
    candidate = problem.candidates[position]
    for name, most in problem.limits.items():
        row = RESOURCES[name]
        if not row.is_summed(problem.policy) and row.of_answer(candidate) > most:
            return False
    return True


def met_bits(problem: Problem, value: float, time_ms: float) -> int:
    """One bit for each minimum value that an answer of some value at some time keeps to."""
    return sum(
        1 << number
        for number, (budget, least) in enumerate(problem.min_values)
        if value >= least and time_ms <= latest_in_time(budget)
    )


def within_limits(
    problem: Problem, choice: Choice, value: Callable[[Choice], float], most: int | None
) -> Choice | None:
    """A choice that keeps to the limits, made from another by taking exits away, the least valuable first.

    Where only exits are left that must stand, their heads are exchanged for others that break the limits less.

    Args:
        value: expected value of a choice.
        most: most exits, beside the problem's own limits; None means no further limit.

    Returns:
        The choice, or None where this does not lead to one.
    """
    limited = replace(problem, max_exits=most)
    while not limited.allows(choice):
        kept = [k for k, c in enumerate(problem.chosen(choice)) if c.placement not in problem.forced]
        options = [choice[:k] + choice[k + 1 :] for k in kept]
        if options:
            choice = max(options, key=value)
            continue
        exchanged = [
            (*choice[:k], position, *choice[k + 1 :])
            for k, candidate in enumerate(problem.chosen(choice))
            for position in problem.by_placement[candidate.placement]
        ]
        best = min(exchanged, key=lambda option: _broken(limited, option), default=choice)
        if _broken(limited, best) >= _broken(limited, choice):
            return None
        choice = best
    return choice


def _broken(problem: Problem, choice: Choice) -> float:
    """By how much a choice breaks all limits together."""
    return sum(max(0.0, excess) for excess in problem.excess(choice).values())


class NothingAllowed(InputError):
    """No choice keeps to all limits, or none was found.

    Args:
        problem: whose limits these are.
        bound: no choice that was let go untried is worth more; minus infinity: none was, so there is none.
    """

    def __init__(self, problem: Problem, *, bound: float) -> None:
        self.bound = bound
        found = [] if problem.max_exits is None else [f"at most {problem.max_exits} exits"]
        found += [row.words.format(problem.limits[name]) for name, row in RESOURCES.items() if name in problem.limits]
        if problem.forced:
            found.append(f"exits at placements {', '.join(map(str, problem.forced))}")
        found += [f"a value of {least:g} within {budget:g} ms" for budget, least in problem.min_values]
        if bound == -math.inf:
            super().__init__(f"no choice of exits keeps to all limits ({'; '.join(found)}); lift one of them")
        else:
            super().__init__(
                f"no choice of exits was found that keeps to all limits ({'; '.join(found)}), but there may be one, as "
                "there were too many to try; loosen a limit, or leave fewer heads or placements to choose from"
            )
