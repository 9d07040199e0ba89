"""The exact solver: the best choice of a problem, with proof. Optuna's first trial and every regret come from it.

Among choices of equal value it prefers fewer exits, then fewer parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from exitsearch.search.problem import Choice, Problem
from exitsearch.search.solver.contract import ContractSolver
from exitsearch.search.solver.interruptible import InterruptibleSolver
from exitsearch.search.solver.layers import best_of_layers, layered
from exitsearch.search.solver.limits import NothingAllowed
from exitsearch.search.value import expected_value

# Values this close, in units of the largest absolute value, differ by rounding only: sums of some fifty float64 terms
# are good to a few 1e-15.
TOLERANCE = 1e-13
# The pairwise test of so many labels takes seconds. Realistic problems of 48 placements and 12 heads need some hundred.
_MOST_LABELS = 20_000


@dataclass(frozen=True)
class Solution:
    """What the exact solver found.

    Attributes:
        choice: the best choice.
        value: its expected value.
        exact: whether it is proved best. False only where a problem needed too many labels.
        bound: no choice is worth more than this; `value` itself when exact.
        by_count: for 0, 1, 2, ... exits the best value with at most so many, up to the choice's own number; numbers
            with which no choice keeps to the other limits are left out, and all but the choice's own where limits on
            sums make the problem hard.
    """

    choice: Choice
    value: float
    exact: bool
    bound: float
    by_count: tuple[tuple[int, float], ...]


def solve(problem: Problem, *, by_count: bool = True, most_labels: int = _MOST_LABELS) -> Solution:
    """Find the best choice of a problem.

    Args:
        problem: policy, budgets, candidates and the most exits.
        by_count: whether to find the best value for every smaller number of exits too, which takes longer.
        most_labels: most partial choices carried at once, at least 1; beyond it the result is no longer proved.

    Raises:
        InputError: no choice keeps to all limits, or, where there were too many partial choices, none was found.
    """
    values = (problem.fallback, problem.final_value, *(c.value for c in problem.candidates))
    tolerance = TOLERANCE * max(1e-300, *(abs(value) for value in values))
    resource = layered(problem)
    if resource is not None:
        plain = partial(solve, by_count=by_count, most_labels=most_labels)
        return best_of_layers(problem, resource, plain, tolerance=tolerance)
    family = InterruptibleSolver if problem.policy == "interruptible" else ContractSolver
    solver = family(problem, tolerance=tolerance, most_labels=most_labels)
    _, choice, let_go = _sweep(solver, None)
    limited: list[Choice | None] = []
    # The choice without a limit has the fewest exits of all the best ones: where it keeps to the limit, it is the best.
    binding = problem.max_exits is not None and problem.max_exits < len(choice)
    counted = by_count and not solver.is_hard
    if binding or (counted and choice):
        limit = len(choice) if problem.max_exits is None else min(problem.max_exits, len(choice))
        if binding:
            limited, choice, let_go = _sweep(solver, limit)
        else:
            limited, _ = solver.solve(limit)
            limited[limit] = choice
    value = expected_value(problem, choice)
    counts = dict(enumerate([*limited[: len(choice)], choice] if counted else []))
    if by_count and not counted:
        counts = {len(choice): choice}
    return Solution(
        choice=choice,
        value=value,
        exact=let_go <= value + tolerance,
        bound=max(value, let_go),
        by_count=tuple((count, expected_value(problem, best)) for count, best in counts.items() if best is not None),
    )


def _sweep(
    solver: InterruptibleSolver | ContractSolver, limits: int | None
) -> tuple[list[Choice | None], Choice, float]:
    """What a solver finds for each limit, the last of them, and an upper bound of what it had to let go.

    Where it found nothing and had to let go of labels it sweeps once more and keeps those that take least.

    Raises:
        InputError: no choice keeps to all limits, or none was found.
    """
    found, let_go = solver.solve(limits)
    if found[-1] is None and let_go > -np.inf:
        found, again = solver.solve(limits, frugal=True)
        let_go = min(let_go, again)  # each bounds what any choice is worth
    if found[-1] is None:
        raise NothingAllowed(solver.problem, bound=let_go)
    return found, found[-1], let_go
