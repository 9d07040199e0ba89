"""The exact solver where nearly everything ties: values, times, sizes, and limits that are hit exactly."""

from __future__ import annotations

from dataclasses import replace

import pytest
from random_problems import all_choices, problem_of
from tied_problems import tied_problem

from exitsearch.errors import InputError
from exitsearch.search.exact import solve
from exitsearch.search.problem import Candidate, Problem
from exitsearch.search.value import expected_value


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
@pytest.mark.parametrize("block", range(5))
def test_equals_brute_force_where_everything_ties(policy: str, block: int) -> None:
    """500 problems a policy: value, exits, parameters, fewer exits, and whether any choice is left."""
    for seed in range(100 * block, 100 * block + 100):
        problem = tied_problem(seed, policy=policy)  # type: ignore[arg-type]
        scored = [(expected_value(problem, choice), choice) for choice in all_choices(problem)]
        if not scored:
            with pytest.raises(InputError, match="no choice of exits keeps to all limits"):
                solve(problem)
            continue
        solution = solve(problem)
        best = max(value for value, _ in scored)
        rank = min((len(choice), problem.params(choice)) for value, choice in scored if value >= best - 1e-12)
        assert solution.exact, seed
        assert problem.allows(solution.choice), seed
        assert solution.value == pytest.approx(best, abs=1e-12), seed
        assert (len(solution.choice), problem.params(solution.choice)) == rank, seed
        fewest = min(len(choice) for _, choice in scored)
        assert [count for count, _ in solution.by_count] == list(range(fewest, len(solution.choice) + 1)), seed
        for count, value in solution.by_count:
            limited = max(value for value, choice in scored if len(choice) <= count)
            assert value == pytest.approx(limited, abs=1e-12), (seed, count)


def heads_of_one_placement(*amounts: tuple[int, int]) -> Problem:
    """Equal heads at 10 ms (1 ms, 0.8) with these parameters and bytes; final (20 ms, 0.9), known budget of 15 ms."""
    heads = [
        Candidate(0, name, 10.0, 1.0, 0.8, params, memory)
        for name, (params, memory) in zip("abcd", amounts, strict=False)
    ]
    none = problem_of([], final=(20.0, 0.9), budget="point:15", policy="contract")
    return replace(none, candidates=tuple(heads))


def test_equal_heads_do_not_both_make_way() -> None:
    """Either head answers at 11 of 15 ms: 0.8. The final exit, at 20, is never in time."""
    problem = heads_of_one_placement((10, 40), (10, 20))
    assert (solve(problem).choice, solve(problem).value) == ((0,), 0.8)
    # Where bytes are limited the lighter of the two stays.
    assert solve(replace(problem, max_memory_bytes=20)).choice == (1,)
    assert solve(replace(problem, max_params=10)).choice == (0,)


def test_of_equal_heads_the_one_with_fewer_parameters_stays() -> None:
    """Three in a circle: each has less of something than the next, and 8 parameters are the fewest."""
    problem = heads_of_one_placement((10, 20), (9, 30), (8, 40))
    assert solve(problem).choice == (2,)
    assert solve(replace(problem, max_memory_bytes=30)).choice == (1,)
    assert solve(replace(problem, max_memory_bytes=30, required=(0,))).choice == (1,)
