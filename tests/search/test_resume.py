"""The part behind a head takes longer: the search's times are those of the profile's paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from random_problems import all_choices, brute_force
from toy_documents import toy_outcomes, toy_profile

from exitsearch.search.build import build_problem
from exitsearch.search.solver import solve
from exitsearch.search.value import finish_times
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.request import Policy, SearchRequest


def resuming(first: float, last: float) -> Profile:
    """The toy profile, whose second segment and final part take longer behind a head."""
    data = toy_profile().model_dump()
    data["segments"][1]["resume_ms"] = first
    data["final"]["resume_ms"] = last
    return Profile.model_validate(data)


@pytest.mark.parametrize("policy", ["interruptible", "confidence"])
@pytest.mark.parametrize("seed", range(5))
def test_times_are_those_of_the_path(tmp_path: Path, policy: Policy, seed: int) -> None:
    profile = resuming(*np.random.default_rng(seed).uniform(0, 3, 2).tolist())
    request = SearchRequest.asked(budget="uniform:0,20", policy=policy)
    problem, _ = build_problem(profile, toy_outcomes(tmp_path), request)
    choices = list(all_choices(problem))
    assert len(choices) == 6
    for choice in choices:
        path = profile.path_ms([(c.placement, c.head) for c in problem.chosen(choice)])
        assert finish_times(problem, choice).tolist() == pytest.approx(path, abs=1e-12)


def test_by_hand(tmp_path: Path) -> None:
    """a at both: 2 + 1; then 0.5 longer: 5 + 1 + 0.5 + 1; then 0.25 longer: 8 + 1 + 0.5 + 1 + 0.25."""
    problem, _ = build_problem(resuming(0.5, 0.25), toy_outcomes(tmp_path), SearchRequest.asked(budget="uniform:0,20"))
    assert finish_times(problem, (0, 2)).tolist() == pytest.approx([3.0, 7.5, 10.75])
    # Under contract one head runs, and nothing comes after its answer.
    assert finish_times(problem, (0, 2), policy="contract").tolist() == pytest.approx([3.0, 6.0, 8.0])


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
@pytest.mark.parametrize("seed", range(10))
def test_the_optimum_counts_it(tmp_path: Path, policy: Policy, seed: int) -> None:
    rng = np.random.default_rng(seed)
    request = SearchRequest.asked(budget=f"uniform:{rng.uniform(0, 5)},{rng.uniform(6, 15)}", policy=policy)
    problem, _ = build_problem(resuming(*rng.uniform(0, 4, 2).tolist()), toy_outcomes(tmp_path), request)
    solution = solve(problem)
    assert solution.exact
    assert solution.value == pytest.approx(brute_force(problem)[0], abs=1e-12)
