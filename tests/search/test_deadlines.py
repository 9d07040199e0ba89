"""A time is within a budget by one rule everywhere: all policies, least values, curves and operating points.

An answer at 0.1 + 0.2 ms comes 4e-17 ms after 0.3 ms in float64; a budget of 0.3 ms is met by it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_problems import problem_of
from toy_documents import toy_outcomes, toy_profile

from exitsearch.errors import InputError
from exitsearch.search.run import search
from exitsearch.search.solver.exact import solve
from exitsearch.search.thresholds.replay import Staircase
from exitsearch.search.value import budget_curve
from exitsearch.specs.profile import Profile


def decimal_profile() -> Profile:
    """Placement 0 after 0.1 ms, head a 0.2 ms (b: 2 ms); placement 1 and the final exit far later."""
    data = toy_profile().model_dump(mode="json")
    data["segments"][0]["latency_ms"] = 0.1
    data["heads"][0]["latency_ms"] = 0.2
    return Profile.parse(data, "profile.json")


@pytest.mark.parametrize("policy", ["interruptible", "contract", "confidence"])
def test_every_policy_takes_an_answer_at_the_last_moment(policy: str, tmp_path: Path) -> None:
    """Six of ten answers of head a are right, and no other answer is in time."""
    outcomes = toy_outcomes(tmp_path / "outcomes")
    result = search(decimal_profile(), outcomes, budget="point:0.3", policy=policy, trials=0)  # type: ignore[arg-type]
    assert result.problem.chosen(result.choice)[0].arrival_ms + 0.2 > 0.3
    assert result.value == pytest.approx(0.6)
    assert result.no_answer == pytest.approx(0.0)
    assert not [note for note in result.notes if "none is in time" in note]


def test_the_sum_of_segments_alone_is_in_time(tmp_path: Path) -> None:
    """Segments of 0.1 and 0.2 ms, a final exit that takes no time: 0.30000000000000004 ms."""
    data = toy_profile().model_dump(mode="json")
    for segment, time in zip(data["segments"], (0.1, 0.2), strict=True):
        segment["latency_ms"] = time
    data["final"]["latency_ms"] = 0.0
    result = search(Profile.parse(data, "p"), toy_outcomes(tmp_path / "outcomes"), budget="point:0.3", trials=0)
    assert result.problem.final_ms > 0.3
    assert (result.choice, result.value) == ((), pytest.approx(0.9))


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_a_least_value_is_met_at_the_last_moment(policy: str, tmp_path: Path) -> None:
    """Budgets of 20 ms alone would take no exit; the least value asks for head a."""
    outcomes = toy_outcomes(tmp_path / "outcomes")
    options = {"budget": "point:20", "policy": policy, "trials": 0}
    assert search(decimal_profile(), outcomes, **options).choice == ()  # type: ignore[arg-type]
    result = search(decimal_profile(), outcomes, min_values=["0.3ms=0.6"], **options)  # type: ignore[arg-type]
    assert result.problem.value_within(result.choice, 0.3) == pytest.approx(0.6)
    assert result.config.optimum.exact
    with pytest.raises(InputError, match="no choice of exits keeps to all limits"):
        search(decimal_profile(), outcomes, min_values=["0.2999ms=0.6"], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("slowdown", [(), (1.0, 1.0, 1.0), (1.0,) * 3000])
def test_slow_down_samples_change_nothing_about_it(slowdown: tuple[float, ...]) -> None:
    problem = problem_of([(0, 0.1, 0.2, 0.5)], final=(1.0, 0.9), budget="point:0.3", slowdown=slowdown)
    for policy in ("interruptible", "contract"):
        assert solve(replace(problem, policy=policy)).value == 0.5


def test_curves_and_operating_points() -> None:
    problem = problem_of([(0, 0.1, 0.2, 0.5)], final=(1.0, 0.9), budget="point:0.3", slowdown=(1.0, 2.0))
    assert list(budget_curve(problem, (0,), [0.2999, 0.3])) == [0.0, 0.5]
    # Half of the passes take twice as long; an answer without any time is always there.
    assert list(budget_curve(problem, (0,), [0.3, 0.6, 1.2], noise=True)) == pytest.approx([0.25, 0.5, 0.7])
    free = problem_of([(0, 0.0, 0.0, 0.5)], final=(1.0, 0.9), budget="point:0.3")
    assert list(budget_curve(free, (0,), [0.0, 1.0])) == [0.5, 0.9]
    staircase = Staircase(np.array([0.1 + 0.2, 1.0]), np.array([0.5, 0.9]), np.zeros((2, 0)))
    assert (staircase.at(0.3), staircase.at(0.2999), staircase.at(1.0)) == (0, None, 1)
