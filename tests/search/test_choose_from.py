"""Choices under confidence against all choices with all thresholds, which small problems allow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import made_answers, random_answers
from test_threshold_bounds import all_choices, best_of_all
from toy_documents import toy_outcomes, toy_profile

from exitsearch.search.problem import Candidate, Problem
from exitsearch.search.run import search
from exitsearch.search.thresholds import choose
from exitsearch.search.thresholds.choose import choose_from, few_choices, judged, quick_value
from exitsearch.search.thresholds.scores import Answers
from exitsearch.specs.budget import parse_budget


def three_choices() -> tuple[Problem, Answers]:
    """The final exit is wrong on the two samples of ten of which head b is surest, rightly; head a knows no more.

    With 90% of the samples in time for 12 ms, b before the final exit has all right; every exit alone has eight at
    most. A judge that runs no head before the cut sees no difference between a, b and the backbone alone.
    """
    right = np.array([[0, 0, *[1] * 8], [1, 1, *[0] * 8], [0, 0, *[1] * 8]], dtype=np.bool_)
    scores = np.full((3, 10), 0.3, dtype=np.float32)
    scores[1, :2] = 0.9
    candidates = (Candidate(0, "a", 5.0, 1.0, 0.8), Candidate(0, "b", 5.0, 1.0, 0.2))
    problem = Problem(candidates, 10.0, 0.8, 0.0, parse_budget("point:12"), policy="confidence", quantile=0.9)
    return problem, Answers("softmax", scores, right, np.zeros((3, 10), np.int32), np.ones(3))


def test_three_choices_are_judged_rightly_by_the_quick_judge_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, answers = three_choices()
    quick = quick_value(problem, answers)
    assert [quick(choice) for choice in ((), (0,), (1,))] == pytest.approx([0.8, 0.8, 1.0])
    monkeypatch.setattr(choose, "_MOST_TRIED", 0)
    found = choose_from(problem, answers, trials=0)
    assert found.tried is None
    assert found.choice == (1,)
    assert found.staircase.value(problem) == pytest.approx(1.0)


def test_three_choices_are_all_tried() -> None:
    problem, answers = three_choices()
    found = choose_from(problem, answers, trials=20)
    assert found.tried == 2  # the backbone alone is a part of either
    assert found.choice == (1,)
    assert found.staircase.value(problem) == found.bound == pytest.approx(1.0)
    assert found.exact


@pytest.mark.parametrize("score", ["softmax", "patience"])
@pytest.mark.parametrize("quantile", [None, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(6))
def test_no_small_problem_is_missed(seed: int, quantile: float | None, score: str) -> None:
    problem, answers = random_answers(seed, placements=2 + seed % 2, heads=2 - seed % 2, samples=7, score=score)
    if score == "patience":
        answers = replace(answers, scores=np.zeros_like(answers.scores))
    problem = replace(problem, quantile=quantile, max_exits=1 if seed == 4 else None)
    found = choose_from(problem, answers, trials=0)
    value, best = found.staircase.value(problem), found.bound
    if score == "patience":
        assert found.exact
        assert best == max(judged(problem, answers, choice).most for choice in all_choices(problem))
    else:
        best = best_of_all(problem, answers)
    # Each exit that is dropped may have been worth 1e-4.
    assert value >= best - len(problem.by_placement) * 1e-4
    assert value <= best + 1e-9 <= found.bound + 2e-9


@pytest.mark.parametrize("quantile", [0.5, 0.8, 0.95])
def test_the_quick_judge_is_near_the_thorough_one(quantile: float) -> None:
    """Where heads are run before the cut too; without them it was out by up to 0.15."""
    for seed in range(25):
        problem, answers = random_answers(seed, placements=3, heads=1, samples=12 + seed)
        problem = replace(problem, quantile=quantile)
        for choice in all_choices(problem):
            thorough = judged(problem, answers, choice).most
            assert thorough - 0.03 <= quick_value(problem, answers)(choice) <= thorough + 1e-9


def test_few_choices_leave_out_parts_of_others() -> None:
    problem, answers = random_answers(0, placements=3, heads=2, samples=6)
    assert len(few_choices(problem, answers)) == 8
    limited = replace(problem, max_exits=2)
    assert all(len(choice) == 2 for choice in few_choices(limited, answers))
    # Under patience a head more is paid for by all.
    assert len(few_choices(problem, replace(answers, score="patience"))) == 27
    many, answers = made_answers(13, 10, seed=0)
    assert few_choices(many, answers) == []


def test_unused_exits_are_dropped_and_the_points_stay() -> None:
    """Exit 1 answers at random and is never used."""
    problem, answers = made_answers(3, 400, seed=3)
    right = answers.right.copy()
    right[1] = False
    answers = replace(answers, right=right)
    found = choose_from(problem, answers, trials=0)
    assert 1 not in found.choice
    assert found.staircase.thresholds.shape[1] == len(found.choice)
    assert found.staircase.value(problem) >= judged(problem, answers, (0, 2)).staircase.value(problem) - 2e-4


def test_a_result_says_that_all_were_tried(tmp_path: Path) -> None:
    outcomes = toy_outcomes(tmp_path / "outcomes")
    result = search(toy_profile(), outcomes, budget="uniform:0,20", policy="confidence", score="patience", trials=0)
    assert any("judged in full" in note for note in result.notes)
    assert result.config.optimum.exact
    assert result.regret == pytest.approx(result.config.optimum.value - result.value, abs=1e-12)
