"""The exact solver: the best choice of a problem, with proof. Optuna's first trial and every regret come from it.

Among choices of equal value it prefers fewer exits, then fewer parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from exitsearch.search.contract import ContractSolver
from exitsearch.search.interruptible import InterruptibleSolver
from exitsearch.search.layers import best_of_layers, has_layers
from exitsearch.search.limits import nothing_allowed
from exitsearch.search.problem import Choice, Problem
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
        InputError: no choice keeps to all limits.
    """
    values = (problem.fallback, problem.final_value, *(c.value for c in problem.candidates))
    tolerance = TOLERANCE * max(1e-300, *(abs(value) for value in values))
    if has_layers(problem):
        plain = partial(solve, by_count=by_count, most_labels=most_labels)
        return best_of_layers(problem, plain, tolerance=tolerance)
    family = InterruptibleSolver if problem.policy == "interruptible" else ContractSolver
    solver = family(problem, tolerance=tolerance, most_labels=most_labels)
    (found,), let_go = solver.solve(None)
    if found is None:
        raise nothing_allowed(problem)
    choice = found
    limited: list[Choice | None] = []
    # The choice without a limit has the fewest exits of all the best ones: where it keeps to the limit, it is the best.
    binding = problem.max_exits is not None and problem.max_exits < len(choice)
    counted = by_count and not solver.is_hard
    if binding or (counted and choice):
        limit = len(choice) if problem.max_exits is None else min(problem.max_exits, len(choice))
        limited, limited_let_go = solver.solve(limit)
        if binding:
            found, let_go = limited[limit], limited_let_go
            if found is None:
                raise nothing_allowed(problem)
            choice = found
        else:
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
