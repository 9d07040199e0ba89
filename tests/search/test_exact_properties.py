"""The exact solver against all choices, on problems rich in ties, zero costs and budgets that are met exactly.

`scripts/check_exact.py` does the same with 10,000 problems a policy.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from exhaustive import SAMPLES, answers, choices, in_time, judge, keeps, survival_of, tied_problem, values
from random_problems import problem_of

from exitsearch.search.problem import Problem
from exitsearch.specs.budget import Trace, parse_budget

# 500 problems a policy.
SEEDS = range(100)


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
@pytest.mark.parametrize("samples", SAMPLES)
def test_equals_all_choices(policy: str, samples: int) -> None:
    """Value, ties by exits and then parameters, limits kept, feasibility, and the best with fewer exits."""
    for seed in SEEDS:
        verdict = judge(tied_problem(seed, policy=policy, samples=samples))
        assert not verdict.wrong, seed
        assert verdict.difference <= 1e-9, (seed, verdict)
        assert verdict.tie, seed
        assert verdict.proved, seed


def test_the_problems_are_of_the_hard_kind() -> None:
    """Ties, free heads, hits, limits that bind and limits that nothing keeps to: each in a good part of them."""
    problems = [tied_problem(seed, policy="interruptible", samples=0) for seed in SEEDS]

    def share(holds: list[bool]) -> float:
        return sum(holds) / len(holds)

    def ties(problem: Problem) -> bool:
        value, allowed = values(problem), [choice for choice in choices(problem) if keeps(problem, choice)]
        found = sorted(map(value, allowed), reverse=True)
        return len(found) > 1 and found[0] - found[1] < 1e-12

    def hit(problem: Problem) -> bool:
        budgets = {amount.number for amount in problem.budget.amounts}
        times = {time for choice in choices(problem) for time, _ in answers(problem, choice)}
        return any(math.isclose(time, budget, rel_tol=1e-9) for time in times for budget in budgets)

    assert share([any(c.head_ms == 0 for c in problem.candidates) for problem in problems]) > 0.5
    assert share([ties(problem) for problem in problems]) > 0.3
    assert share([hit(problem) for problem in problems]) > 0.5
    limited = [[keeps(problem, choice) for choice in choices(problem)] for problem in problems]
    assert 0.1 < share([not any(kept) for kept in limited]) < 0.5
    assert share([any(kept) and not all(kept) for kept in limited]) > 0.2


def test_the_value_of_all_choices_by_hand() -> None:
    """Exits a (answers at 1 + 1 ms, 0.5) and b (at 3 + 1, or behind a at 3 + 2, 0.8), final 6 ms, 0.9; budgets 2@0.4,
    5@0.6. interruptible, both: 0.5, and from 5 ms on 0.8, so 0.5 + 0.3 * 0.6 = 0.68; b alone 0.8 * 0.6 = 0.48. With
    every time as it is or twice as long, b answers at 4 or 8: 0.24."""
    exits = [(0, 1.0, 1.0, 0.5), (1, 3.0, 1.0, 0.8)]
    problem = problem_of(exits, final=(6.0, 0.9), budget="discrete:2@0.4,5@0.6")
    assert values(problem)((0, 1)) == pytest.approx(0.68)
    assert values(problem)((1,)) == pytest.approx(0.48)
    noisy = problem_of(exits, final=(6.0, 0.9), budget="discrete:2@0.4,5@0.6", slowdown=(1.0, 2.0))
    assert values(noisy)((1,)) == pytest.approx(0.24)
    limited = problem_of(exits, final=(6.0, 0.9), budget="point:5", max_exits=1)
    assert [choice for choice in choices(limited) if keeps(limited, choice)] == [(), (1,), (0,)]


@pytest.mark.parametrize(
    "text",
    [
        "uniform:1,4",
        "normal:2,1",
        "lognormal:2,0.5",
        "exponential:2",
        "point:2",
        "discrete:1@0.3,2@0.7",
        "mix:0.5*point:2+0.5*uniform:1,3",
    ],
)
def test_its_survival_is_that_of_the_families(text: str) -> None:
    """Two ways to write the same formulas: a slip in either shows here, before any search."""
    times = np.array([0.0, 0.3, 1.0, 1.5, 2.0, 2.0 * (1 + 1e-12), 3.0, 9.0])
    assert survival_of(parse_budget(text))(times) == pytest.approx(parse_budget(text).survival(times), abs=1e-14)


def test_its_survival_of_a_trace() -> None:
    assert list(survival_of(Trace("made", (1.0, 2.0)))(np.array([1.0, 1.5, 2.5]))) == [1.0, 0.5, 0.0]
    assert list(in_time(np.array([0.1 + 0.2, 0.3001]), 0.3)) == [True, False]
