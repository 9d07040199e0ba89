"""Limits on a choice: what the two exact solvers share about them, and how a problem gets them.

Both solvers drop a label as soon as it breaks a limit on exits, parameters, bytes or energy, and let a label stand in
for another only if it uses no more of anything limited and keeps to the same floors. To know early what is worth
carrying on, they need a good choice that keeps to the limits: a good one without limits, from which exits are taken
until it does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from exitsearch.errors import InputError
from exitsearch.search.problem import Choice, Problem
from exitsearch.specs.budget import latest_in_time


def scarce(problem: Problem) -> tuple[str, ...]:
    """Fields of a label whose sum is limited."""
    limits: dict[str, float | None] = {"params": problem.max_params, "memory": problem.max_memory_bytes}
    if problem.policy != "contract":  # there a limit on energy leaves candidates out, and sums up nothing
        limits["energy"] = problem.max_energy_mj
    return tuple(name for name, limit in limits.items() if limit is not None)


def floor_bits(problem: Problem, value: float, time_ms: float) -> int:
    """One bit for each floor that an answer of some value at some time keeps to."""
    return sum(
        1 << number
        for number, (budget, least) in enumerate(problem.floors)
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
        kept = [k for k, c in enumerate(problem.chosen(choice)) if c.placement not in problem.required]
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
        limits = {
            f"at most {problem.max_exits} exits": problem.max_exits,
            f"at most {problem.max_params} extra parameters": problem.max_params,
            f"at most {problem.max_memory_bytes} bytes of heads": problem.max_memory_bytes,
            f"at most {problem.max_energy_mj} mJ an answer": problem.max_energy_mj,
            f"exits at placements {', '.join(map(str, problem.required))}": problem.required or None,
        }
        found = [words for words, limit in limits.items() if limit is not None]
        found += [f"a value of {least:g} within {budget:g} ms" for budget, least in problem.floors]
        if bound == -math.inf:
            super().__init__(f"no choice of exits keeps to all limits ({'; '.join(found)}); lift one of them")
        else:
            super().__init__(
                f"no choice of exits was found that keeps to all limits ({'; '.join(found)}), but there may be one, as "
                "there were too many to try; loosen a limit, or leave fewer heads or placements to choose from"
            )
