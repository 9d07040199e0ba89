from __future__ import annotations

import numpy as np
import pytest
from random_problems import all_choices, problem_of, random_problem

from exitsearch.search.build import build_problem
from exitsearch.search.problem import Problem
from exitsearch.search.value import (
    budget_curve,
    contract_value,
    exit_probabilities,
    expected_value,
    finish_times,
    interruptible_value,
)
from exitsearch.specs.published import published_costs, published_outcomes
from exitsearch.specs.question.request import SearchRequest


def small_problem(**changes: object) -> Problem:
    """Exits at 2 ms (head 1 ms, 0.5), 4 ms (head 2 ms, 0.4) and 6 ms (head 1 ms, 0.8); final at 8 ms, 0.9."""
    exits = [(0, 2.0, 1.0, 0.5), (1, 4.0, 2.0, 0.4), (2, 6.0, 1.0, 0.8)]
    return problem_of(exits, final=(8.0, 0.9), **{"budget": "uniform:0,20", **changes})


def test_every_head_on_the_way_delays_the_later_ones() -> None:
    """Interruptible: 2 + 1, 4 + 1 + 2, 6 + 1 + 2 + 1, 8 + 4. Contract: 2 + 1, 4 + 2, 6 + 1, 8."""
    problem = small_problem()
    assert finish_times(problem, (0, 1, 2)).tolist() == [3.0, 7.0, 10.0, 12.0]
    assert finish_times(problem, (0, 1, 2), policy="contract").tolist() == [3.0, 6.0, 7.0, 8.0]
    assert finish_times(problem, ()).tolist() == [8.0]


def test_interruptible_value_by_hand() -> None:
    """G(t) = 1 - t / 20. The exit worth 0.4 adds nothing, but delays.

    {0, 2}: 0.5 G(3) + 0.3 G(8) + 0.1 G(10) = 0.5 * 0.85 + 0.3 * 0.6 + 0.1 * 0.5 = 0.425 + 0.18 + 0.05 = 0.655.
    {0, 1, 2}: 0.5 G(3) + 0.3 G(10) + 0.1 G(12) = 0.425 + 0.15 + 0.04 = 0.615.
    none: 0.9 G(8) = 0.54.
    """
    problem = small_problem()
    assert interruptible_value(problem, (0, 2)) == pytest.approx(0.655)
    assert interruptible_value(problem, (0, 1, 2)) == pytest.approx(0.615)
    assert interruptible_value(problem, ()) == pytest.approx(0.54)


def test_contract_value_by_hand() -> None:
    """{0, 1, 2}: 0.5 G(3) + 0.3 G(7) + 0.1 G(8) = 0.425 + 0.3 * 0.65 + 0.1 * 0.6 = 0.425 + 0.195 + 0.06 = 0.68."""
    assert contract_value(small_problem(), (0, 1, 2)) == pytest.approx(0.68)


def test_contract_takes_the_answers_in_order_of_time_and_not_of_placement() -> None:
    """Placement 0 with a slow head (2 + 6 = 8 ms, 0.7), placement 1 with a fast one (4 + 1 = 5 ms, 0.6); final 30 ms.

    G(t) = 1 - t / 20: 0.6 G(5) + 0.1 G(8) = 0.45 + 0.06 = 0.51, the final exit never.
    """
    problem = problem_of([(0, 2.0, 6.0, 0.7), (1, 4.0, 1.0, 0.6)], final=(30.0, 0.9), budget="uniform:0,20")
    assert contract_value(problem, (0, 1)) == pytest.approx(0.51)


def test_fallback_is_kept_until_something_better_comes() -> None:
    """Fallback 0.45: 0.45 + 0.05 G(3) + 0.3 G(8) + 0.1 G(10) = 0.45 + 0.0425 + 0.18 + 0.05 = 0.7225.

    Of an error metric, fallback -3, one exit of -2 at 3 ms, final -1 at 8 + 1 ms: -3 + G(3) + G(9) = -3 + 0.85 + 0.55.
    """
    assert interruptible_value(small_problem(fallback=0.45), (0, 2)) == pytest.approx(0.7225)
    mae = problem_of([(0, 2.0, 1.0, -2.0)], final=(8.0, -1.0), budget="uniform:0,20", fallback=-3.0)
    assert interruptible_value(mae, (0,)) == pytest.approx(-1.6)


def test_noise_averages_the_survival_over_the_slow_downs() -> None:
    """Final exit alone at 8 ms, slow-downs 1 and 1.5: 0.9 (G(8) + G(12)) / 2 = 0.9 * (0.6 + 0.4) / 2 = 0.45."""
    problem = small_problem(slowdown=(1.0, 1.5))
    assert expected_value(problem, ()) == pytest.approx(0.45)
    assert expected_value(problem, (), noise=False) == pytest.approx(0.54)


def test_chances_of_the_exits_by_hand() -> None:
    """{0, 1, 2}: answers at 3, 7 (never used), 10 and 12 ms; survivals 0.85, 0.65, 0.5, 0.4.

    Exit 0 from 3 to 10 ms: 0.85 - 0.5; exit 2 from 10 to 12: 0.5 - 0.4; final: 0.4; nothing: 0.15.
    """
    chances, nothing = exit_probabilities(small_problem(), (0, 1, 2))
    assert chances == pytest.approx([0.35, 0.0, 0.1, 0.4])
    assert nothing == pytest.approx(0.15)


def test_no_exit_better_than_none_is_ever_used() -> None:
    chances, nothing = exit_probabilities(small_problem(fallback=1.0), (0, 2))
    assert chances.tolist() == [0.0, 0.0, 0.0]
    assert nothing == 1.0


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_chances_weigh_the_values_to_the_expected_value(policy: str) -> None:
    for seed in range(60):
        problem = random_problem(seed, policy=policy)
        for choice in all_choices(problem):
            chances, nothing = exit_probabilities(problem, choice)
            values = np.array([*(c.value for c in problem.chosen(choice)), problem.final_value])
            assert chances.min() >= -1e-12
            assert chances.sum() + nothing == pytest.approx(1.0)
            assert chances @ values + nothing * problem.fallback == pytest.approx(expected_value(problem, choice))


def test_contract_is_an_upper_bound_of_interruptible() -> None:
    for seed in range(100):
        problem = random_problem(seed, policy="interruptible")
        for choice in all_choices(problem):
            assert contract_value(problem, choice) >= interruptible_value(problem, choice) - 1e-12


def test_budget_curve_steps_where_the_answers_come() -> None:
    """{0, 2}: answers at 3, 8 and 10 ms."""
    problem = small_problem()
    curve = budget_curve(problem, (0, 2), [2.9, 3.0, 7.9, 8.0, 9.0, 10.0, 50.0])
    assert curve == pytest.approx([0.0, 0.5, 0.5, 0.8, 0.8, 0.9, 0.9])
    noisy = budget_curve(small_problem(slowdown=(1.0, 2.0)), (0,), [3.0, 6.0], noise=True)
    assert noisy == pytest.approx([0.25, 0.5])


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_mean_of_the_curve_is_the_expected_value(policy: str) -> None:
    problem = small_problem()
    budgets = (np.arange(20000) + 0.5) / 1000  # the middles of equal parts of 0..20 ms
    for choice in all_choices(problem):
        mean = budget_curve(problem, choice, budgets, policy=policy).mean()
        assert mean == pytest.approx(expected_value(problem, choice, policy=policy), abs=1e-9)


def test_published_figures() -> None:
    """The values of an independent solver for CIFAR-100, 1 GMAC = 1 ms, budgets uniform from 10 to 80.

    Its contract value with every exit, 0.8214, is of all 77 pairs at once: seven heads at each placement, of which the
    one that fits the budget is run. One head a placement comes to 0.8195 at most.
    """
    problem, warnings = build_problem(
        published_costs("mevit-gmacs"),
        published_outcomes("mevit-cifar100"),
        SearchRequest.asked(budget="uniform:10,80"),
    )
    assert warnings == []
    assert expected_value(problem, ()) == pytest.approx(0.3163, abs=5e-5)
    singles = [expected_value(problem, (position,)) for position in range(len(problem.candidates))]
    assert max(singles) == pytest.approx(0.6734, abs=5e-5)
    assert contract_value(problem, tuple(range(77))) == pytest.approx(0.8214, abs=5e-5)
