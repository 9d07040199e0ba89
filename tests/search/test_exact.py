from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_problems import brute_force, problem_of, random_problem

from exitsearch.search.solver import contract, interruptible, prices
from exitsearch.search.solver.exact import solve
from exitsearch.search.value import expected_value


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
@pytest.mark.parametrize("block", range(10))
def test_equals_brute_force_on_500_problems(policy: str, block: int) -> None:
    """Value, number of exits and parameters; all budget families, ties, slow-down samples and limits."""
    for seed in range(50 * block, 50 * block + 50):
        problem = random_problem(seed, policy=policy)
        solution = solve(problem)
        value, exits, params = brute_force(problem)
        assert solution.exact
        assert solution.value == pytest.approx(value, abs=1e-12), seed
        assert (len(solution.choice), problem.params(solution.choice)) == (exits, params), seed
        assert problem.allows(solution.choice)
        for count, best in solution.by_count if seed % 5 == 0 else ():
            assert best == pytest.approx(brute_force(replace(problem, max_exits=count))[0], abs=1e-12), (seed, count)


def test_an_exit_between_two_labels_values_counts() -> None:
    """Two labels after placement 1, and a later exit worth more than the one's best but less than the other's.

    Exits: placement 0 (1 ms, head 1 ms, 0.5), placement 1 (2 ms, head 0 ms, 0.4), placement 2 (3 ms, head 0, 0.45);
    final (20 ms, 0). Budgets 2.5 with chance 0.5, 3 with chance 0.5.
    {0}: answers at 2, so V = 0.5. {1}: 0.4. {1, 2}: 0.4 G(2) + 0.05 G(3) = 0.4 + 0.025 = 0.425.
    Had placement 0 been at 2.6 (answer at 3.6, too late), {1, 2} would be best.
    """
    exits = [(0, 1.0, 1.0, 0.5), (1, 2.0, 0.0, 0.4), (2, 3.0, 0.0, 0.45)]
    budget = "discrete:2.5@0.5,3@0.5"
    solution = solve(problem_of(exits, final=(20.0, 0.0), budget=budget))
    assert (solution.choice, solution.value) == ((0,), 0.5)
    late = [(0, 1.0, 2.6, 0.5), *exits[1:]]
    solution = solve(problem_of(late, final=(20.0, 0.0), budget=budget))
    assert solution.choice == (1, 2)
    assert solution.value == pytest.approx(0.425)


def test_a_slower_head_pays_only_where_nothing_follows() -> None:
    """One placement at 2 ms with heads a (1 ms, 0.6) and b (3 ms, 0.7), final (8 ms, 0.9), budgets uniform:0,10.

    a: 0.6 * 0.7 + 0.3 * G(9) = 0.42 + 0.03 = 0.45. b: 0.7 * 0.5 + 0.2 * G(11) = 0.35. None: 0.9 * 0.2 = 0.18.
    contract: the final exit waits for no head. a: 0.42 + 0.3 * G(8) = 0.48; b: 0.35 + 0.2 * 0.2 = 0.39.
    """
    exits = [(0, 2.0, 1.0, 0.6), (0, 2.0, 3.0, 0.7)]
    problem = problem_of(exits, final=(8.0, 0.9), budget="uniform:0,10")
    assert (solve(problem).choice, solve(problem).value) == ((0,), pytest.approx(0.45))
    known = replace(problem, policy="contract")
    assert (solve(known).choice, solve(known).value) == ((0,), pytest.approx(0.48))


def test_contract_holds_to_one_head_a_placement() -> None:
    """Heads a (1 ms, 0.5) and b (5 ms, 0.8) of one placement would both stand in the free staircase.

    At 1 ms, final (20 ms, 0), budgets uniform:0,10. a and b: 0.5 * 0.8 + 0.3 * 0.4 = 0.52, which is not allowed;
    a alone 0.5 * 0.8 = 0.4, b alone 0.8 * 0.4 = 0.32. With placement 1 (5 ms, 1 ms, 0.7), answering at 6:
    a and placement 1: 0.4 + 0.2 * 0.4 = 0.48; b and placement 1 (same time): 0.32.
    """
    exits = [(0, 1.0, 1.0, 0.5), (0, 1.0, 5.0, 0.8)]
    problem = problem_of(exits, final=(20.0, 0.0), budget="uniform:0,10", policy="contract")
    assert (solve(problem).choice, solve(problem).value) == ((0,), pytest.approx(0.4))
    problem = problem_of([*exits, (1, 5.0, 1.0, 0.7)], final=(20.0, 0.0), budget="uniform:0,10", policy="contract")
    assert (solve(problem).choice, solve(problem).value) == ((0, 2), pytest.approx(0.48))


@pytest.fixture
def _no_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels then go only when another makes them superfluous."""
    for table in (interruptible.Estimates, prices.PricedStaircase):
        monkeypatch.setattr(table, "promising", lambda self, labels, index, floor: np.ones(len(labels), dtype=bool))


@pytest.mark.usefixtures("_no_bounds")
@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_dominance_alone_is_exact(policy: str) -> None:
    for seed in range(1000, 1150):
        problem = random_problem(seed, policy=policy)
        solution = solve(problem)
        value, exits, params = brute_force(problem)
        assert solution.value == pytest.approx(value, abs=1e-12), seed
        assert (len(solution.choice), problem.params(solution.choice)) == (exits, params), seed


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_bounds_alone_are_exact(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (interruptible, contract):
        monkeypatch.setattr(module, "undominated", lambda labels, best, ceiling, **options: labels)
    for seed in range(2000, 2150):
        problem = random_problem(seed, policy=policy)
        assert solve(problem).value == pytest.approx(brute_force(problem)[0], abs=1e-12), seed


@pytest.mark.usefixtures("_no_bounds")
@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_too_few_labels_give_a_bound_and_no_false_proof(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "_SUBGRADIENT_STEPS", 1)  # no prices: a bound that small problems do not meet
    beaten = 0
    for seed in range(60):
        problem = replace(random_problem(seed, policy=policy), max_exits=None)
        full, short = solve(problem), solve(problem, most_labels=1)
        assert short.value <= full.value + 1e-12
        assert short.bound >= full.value - 1e-12
        assert short.value == pytest.approx(expected_value(problem, short.choice))
        if short.exact:
            assert short.value == pytest.approx(full.value, abs=1e-12)
        beaten += not short.exact
    assert beaten > 0


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_nothing_to_choose_from(policy: str) -> None:
    problem = replace(problem_of([], final=(5.0, 0.8), budget="uniform:0,10"), policy=policy)
    solution = solve(problem)
    assert (solution.choice, solution.value, solution.by_count) == ((), 0.4, ((0, 0.4),))


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_budgets_that_no_exit_can_meet_choose_none(policy: str) -> None:
    problem = problem_of([(0, 5.0, 1.0, 0.7)], final=(8.0, 0.9), budget="uniform:1,2", fallback=0.1, policy=policy)
    assert (solve(problem).choice, solve(problem).value) == ((), 0.1)
