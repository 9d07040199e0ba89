from __future__ import annotations

from dataclasses import replace

import pytest
from random_problems import problem_of, random_problem

from exitsearch.search.baselines import baselines, equally_spaced, greedy
from exitsearch.search.problem import Problem
from exitsearch.search.solver.exact import solve
from exitsearch.search.value import expected_value


def two_heads() -> Problem:
    """Heads a and b at placements 0 to 3, every 2 ms; positions 0 to 7 are a, b, a, b, ..."""
    exits = [(k, 2.0 * (k + 1), ms, 0.2 * k + v) for k in range(4) for ms, v in ((0.1, 0.1), (0.5, 0.15))]
    return problem_of(exits, final=(10.0, 0.9), budget="uniform:0,20")


def test_names_and_choices() -> None:
    found = {baseline.name: baseline.choice for baseline in baselines(two_heads())}
    assert list(found) == [
        "backbone alone",
        "best single exit",
        "a at every placement",
        "b at every placement",
        "a equally spaced",
        "b equally spaced",
        "greedy adding",
    ]
    assert found["backbone alone"] == ()
    assert found["b at every placement"] == (1, 3, 5, 7)
    assert len(found["best single exit"]) == 1


def test_the_best_single_exit_by_hand() -> None:
    """Placement 0 (2 ms, head 1 ms, 0.5) and 1 (4 ms, head 1 ms, 0.8), final 10 ms, 0.9, G(t) = 1 - t / 20.

    {0}: 0.5 * 0.85 + 0.4 * G(11) = 0.425 + 0.18 = 0.605; {1}: 0.8 * 0.75 + 0.1 * 0.45 = 0.645.
    Greedy goes on from {1} to both: 0.5 * 0.85 + 0.3 * G(6) + 0.1 * G(12) = 0.425 + 0.21 + 0.04 = 0.675.
    """
    problem = problem_of([(0, 2.0, 1.0, 0.5), (1, 4.0, 1.0, 0.8)], final=(10.0, 0.9), budget="uniform:0,20")
    found = {baseline.name: baseline for baseline in baselines(problem)}
    assert found["best single exit"].choice == (1,)
    assert found["best single exit"].value == pytest.approx(0.645)
    assert greedy(problem) == (0, 1)
    assert found["greedy adding"].value == pytest.approx(0.675)


def test_equal_spacing_cuts_the_way_to_the_final_exit_evenly() -> None:
    """Of 11 places and the final one as the twelfth: every sixth, every fourth, every third, every second."""
    places = tuple(range(11))
    assert equally_spaced(places, 1) == (5,)
    assert equally_spaced(places, 2) == (3, 7)
    assert equally_spaced(places, 3) == (2, 5, 8)
    assert equally_spaced(places, 5) == (1, 3, 5, 7, 9)
    assert equally_spaced(places, 11) == places
    for size in range(1, 20):
        for count in range(1, size + 1):
            assert len(set(equally_spaced(tuple(range(size)), count))) == count


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_every_baseline_keeps_to_the_limit(limit: int) -> None:
    problem = replace(two_heads(), max_exits=limit)
    found = baselines(problem)
    assert all(problem.allows(baseline.choice) for baseline in found)
    assert not any("every placement" in baseline.name for baseline in found)
    assert any("equally spaced" in baseline.name for baseline in found) == (limit == 2)


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_no_baseline_beats_the_exact_choice(policy: str) -> None:
    for seed in range(100):
        problem = random_problem(seed, policy=policy)
        best = solve(problem, by_count=False).value
        for baseline in baselines(problem):
            assert baseline.value == expected_value(problem, baseline.choice)
            assert baseline.value <= best + 1e-12, (seed, baseline.name)


def test_greedy_adds_what_it_can_afford() -> None:
    """Heads a and b of placement 0 have 100 and 200 parameters, a of placement 1 has 100."""
    exits = [(0, 1.0, 0.0, 0.5), (0, 1.0, 0.0, 0.7), (1, 2.0, 0.0, 0.8)]
    problem = problem_of(exits, final=(9.0, 0.9), budget="uniform:0,10")
    assert greedy(problem) == (1, 2)
    assert greedy(replace(problem, limits={"params": 200})) == (0, 2)
    assert greedy(replace(problem, limits={"params": 99})) == ()
