"""The exact solver where nearly everything ties: values, times, sizes, and limits that are hit exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_problems import all_choices, problem_of
from tied_problems import tied_problem

from exitsearch.errors import InputError
from exitsearch.search.problem import Candidate, Problem
from exitsearch.search.solver.exact import solve
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
        Candidate(0, name, 10.0, 1.0, 0.8, {"params": params, "memory_bytes": memory})
        for name, (params, memory) in zip("abcd", amounts, strict=False)
    ]
    none = problem_of([], final=(20.0, 0.9), budget="point:15", policy="contract")
    return replace(none, candidates=tuple(heads))


def test_equal_heads_do_not_both_make_way() -> None:
    """Either head answers at 11 of 15 ms: 0.8. The final exit, at 20, is never in time."""
    problem = heads_of_one_placement((10, 40), (10, 20))
    assert (solve(problem).choice, solve(problem).value) == ((0,), 0.8)
    # Where bytes are limited the lighter of the two stays.
    assert solve(replace(problem, limits={"memory": 20})).choice == (1,)
    assert solve(replace(problem, limits={"params": 10})).choice == (0,)


def test_of_equal_heads_the_one_with_fewer_parameters_stays() -> None:
    """Three in a circle: each has less of something than the next, and 8 parameters are the fewest."""
    problem = heads_of_one_placement((10, 20), (9, 30), (8, 40))
    assert solve(problem).choice == (2,)
    assert solve(replace(problem, limits={"memory": 30})).choice == (1,)
    assert solve(replace(problem, limits={"memory": 30}, forced=(0,))).choice == (1,)


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_with_room_for_few_labels_nothing_is_called_impossible_that_is_not(policy: str) -> None:
    """One label at a time: often no choice is found, and then the sentence says so and not that there is none."""
    found, sentences = 0, []
    for seed in range(400):
        problem = tied_problem(seed, policy=policy)  # type: ignore[arg-type]
        scored = [expected_value(problem, choice) for choice in all_choices(problem)]
        if not scored:
            continue
        try:
            solution = solve(problem, most_labels=1)
        except InputError as error:
            sentences.append(str(error))
            continue
        found += 1
        assert problem.allows(solution.choice), seed
        assert solution.bound >= max(scored) - 1e-12, seed
        assert not solution.exact or solution.value == pytest.approx(max(scored), abs=1e-12), seed
    assert found > 300
    assert sentences
    assert all("no choice of exits was found that keeps to all limits" in sentence for sentence in sentences)


def forced_and_tight(seed: int, policy: str, *, placements: int = 12, heads: int = 6) -> Problem:
    """Every placement must carry an exit, and one choice that is known takes all parameters and bytes that there are.

    It takes at each placement the head whose parameters and bytes are least in one mixture of the two, so that there
    is none that takes less of both.
    """
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.uniform(0.5, 1.5, placements + 1))
    candidates = tuple(
        Candidate(
            placement=place,
            head=head,
            arrival_ms=float(arrival[place]),
            head_ms=float(rng.uniform(0.05, 1)),
            value=float(rng.uniform(0.2, 0.9)),
            takes={"params": int(rng.integers(100, 10_000)), "memory_bytes": int(rng.integers(100, 10_000))},
        )
        for place in range(placements)
        for head in "abcdefgh"[:heads]
    )
    share = rng.uniform(0.3, 0.7)
    least = [
        min(candidates[k : k + heads], key=lambda c: share * c.params + (1 - share) * c.takes["memory_bytes"])
        for k in range(0, len(candidates), heads)
    ]
    return replace(
        problem_of([], final=(float(arrival[-1]), 0.9), budget=f"uniform:1,{arrival[-1]:.3f}"),
        candidates=candidates,
        policy=policy,  # type: ignore[arg-type]
        limits={
            "params": sum(c.params for c in least),
            "memory": sum(c.takes["memory_bytes"] for c in least),
        },
        forced=tuple(range(placements)),
    )


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
@pytest.mark.parametrize("seed", range(3))
def test_every_placement_forced_and_limits_that_are_hit(policy: str, seed: int) -> None:
    """At 12 x 6 proved with few labels, though there are 2e9 choices; at 5 x 4 against all choices."""
    solution = solve(forced_and_tight(seed, policy), most_labels=200)
    assert solution.exact
    assert len(solution.choice) == 12
    small = forced_and_tight(seed, policy, placements=5, heads=4)
    small = replace(small, limits={**small.limits, "params": int(1.2 * small.limits["params"])})
    best = max(expected_value(small, choice) for choice in all_choices(small))
    assert solve(small).value == pytest.approx(best, abs=1e-12)
    impossible = replace(small, limits={**small.limits, "memory": 500})
    with pytest.raises(InputError, match="no choice of exits keeps to all limits"):
        solve(impossible)
