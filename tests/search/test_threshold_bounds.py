from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from samples import made_answers, random_answers

from exitsearch.search.problem import Choice, Problem
from exitsearch.search.thresholds.bounds import upper_bound
from exitsearch.search.thresholds.oracle import oracle_bound
from exitsearch.search.thresholds.quantile import operating_points
from exitsearch.search.thresholds.replay import Replay
from exitsearch.search.thresholds.scores import Answers
from exitsearch.specs.budget import parse_budget

KINDS = list(itertools.product(range(12), (None, 0.5, 0.8)))


def all_choices(problem: Problem) -> list[Choice]:
    options = [(None, *rows) for rows in problem.by_placement.values()]
    choices = (tuple(row for row in picked if row is not None) for picked in itertools.product(*options))
    return [choice for choice in choices if problem.allows(choice)]


def best_of_all(problem: Problem, answers: Answers) -> float:
    """With every threshold of every choice replayed."""
    values = []
    for choice in all_choices(problem):
        replay = Replay(problem, answers, choice)
        axes = [[*np.unique(scores), np.inf] for scores in replay.scores]
        values.append(replay.staircase(np.array(list(itertools.product(*axes)), dtype=np.float64)).value(problem))
    return max(values)


@pytest.mark.parametrize(("seed", "quantile"), KINDS)
def test_no_choice_passes_it(seed: int, quantile: float | None) -> None:
    """Every threshold of every choice, with limits, slow-downs, ties and worths among the problems."""
    problem, answers = random_answers(seed, placements=2 + seed % 2, heads=1 + seed // 2 % 2, samples=5 + seed % 3)
    problem = replace(problem, quantile=quantile, max_exits=1 + seed % 3 if seed % 4 == 1 else None)
    if seed % 3 == 2:
        problem = replace(problem, slowdown=(0.9, 1.2), fallback=0.2)
    if seed % 5 == 4:
        answers = replace(answers, scores=np.round(answers.scores, 1))
    if seed % 6 == 3:
        answers = replace(answers, right=np.random.default_rng(seed).random(answers.right.shape))
    choice = max(all_choices(problem), key=lambda one: operating_points(Replay(problem, answers, one)).value(problem))
    found = operating_points(Replay(problem, answers, choice))
    best, bound = best_of_all(problem, answers), upper_bound(problem, answers, found)
    assert best <= bound + 1e-9
    assert bound <= oracle_bound(problem, answers) + 1e-12


@pytest.mark.parametrize("quantile", [None, 0.8])
def test_the_gap_of_the_oracle_is_halved(quantile: float | None) -> None:
    oracles, gaps = [], []
    for seed in range(6):
        problem, answers = made_answers(3, 60, seed=seed)
        problem = replace(problem, quantile=quantile)
        found = operating_points(Replay(problem, answers, (0, 1, 2)))
        oracles.append(oracle_bound(problem, answers) - found.value(problem))
        gaps.append(upper_bound(problem, answers, found) - found.value(problem))
    assert min(gaps) >= -1e-9
    assert np.mean(gaps) <= np.mean(oracles) / 2


def test_by_hand() -> None:
    """One exit at 6 ms, equally sure of two samples and right on the first; the final exit, at 10 ms, is right on both.

    All leave or none: 0.5 from 6 ms, 1 from 10 ms. The oracle has both right from 8 ms on the mean; so has a mixture of
    all and none no more than 0.5 + (c - 6) / 8 at c. With a budget of 8 ms nothing above 0.5 is a count of two samples.
    """
    problem, answers = made_answers(1, 2, seed=0)
    problem = replace(problem, budget=parse_budget("point:8"))
    answers = replace(
        answers, right=np.array([[True, False], [True, True]]), scores=np.full((2, 2), 0.5, dtype=np.float32)
    )
    found = operating_points(Replay(problem, answers, (0,)))
    assert found.value(problem) == 0.5
    assert oracle_bound(problem, answers) == pytest.approx(1.0)
    assert upper_bound(problem, answers, found) == pytest.approx(0.5)


def test_without_candidates_it_is_the_backbone() -> None:
    problem, answers = made_answers(1, 4, seed=0)
    bare = replace(problem, candidates=())
    alone = replace(answers, scores=answers.scores[1:], right=answers.right[1:], predicted=answers.predicted[1:])
    found = operating_points(Replay(bare, alone, ()))
    assert upper_bound(bare, alone, found) >= found.value(bare) - 1e-12
