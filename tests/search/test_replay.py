from __future__ import annotations

import itertools

import numpy as np
import pytest
from samples import made_answers

from exitsearch.search.problem import Candidate, Problem
from exitsearch.search.thresholds.optimise import optimise
from exitsearch.search.thresholds.replay import Replay, Staircase, efficient
from exitsearch.search.thresholds.scores import Answers
from exitsearch.specs.budget import parse_budget

OFF = np.inf


def by_hand() -> Replay:
    """Four samples; exits at 2 ms (head 1 ms) and 4 ms (head 2 ms), final at 10 ms."""
    candidates = (Candidate(0, "a", 2.0, 1.0, 0.5), Candidate(1, "a", 4.0, 2.0, 0.75))
    problem = Problem(candidates, 10.0, 1.0, 0.0, parse_budget("uniform:0,20"), policy="confidence")
    scores = np.array([[0.9, 0.8, 0.4, 0.3], [0.5, 0.9, 0.7, 0.2], [0, 0, 0, 0]], dtype=np.float32)
    right = np.array([[1, 1, 0, 0], [1, 0, 1, 1], [1, 1, 1, 1]], dtype=np.bool_)
    answers = Answers("softmax", scores, right, np.zeros((3, 4), np.int32), np.ones(3))
    return Replay(problem, answers, (0, 1))


@pytest.mark.parametrize(
    ("thresholds", "rates", "value", "times"),
    [
        # Two leave at the first exit, both right; one of the others at the second, right; the last is right at the end.
        ((0.8, 0.5), (0.5, 0.25, 0.25), 1.0, (3, 7, 13)),
        ((0.0, 0.0), (1.0, 0.0, 0.0), 0.5, (3, 7, 13)),
        # The first head is not run, so nobody waits for it; sample 1 leaves wrongly at the second.
        ((OFF, 0.7), (0.0, 0.5, 0.5), 0.75, (2, 6, 12)),
        ((OFF, OFF), (0.0, 0.0, 1.0), 1.0, (2, 4, 10)),
    ],
)
def test_replay_by_hand(thresholds: tuple[float, ...], rates: object, value: float, times: object) -> None:
    replay, q = by_hand(), np.array(thresholds)
    found, accuracy = replay.rates(q)
    assert tuple(found) == rates
    assert accuracy == value
    assert tuple(replay.times(q)) == times
    assert replay.point(q) == (pytest.approx(float(np.dot(rates, times))), value)  # type: ignore[arg-type]
    leaves = replay.leaves(q)
    assert [float((leaves == k).mean()) for k in range(3)] == list(found)


def test_a_staircase_is_worth_what_its_steps_reach() -> None:
    """G(t) = 1 - t/20. 0.5 from 4 ms, 0.8 from 8 ms: 0.5 * 0.8 + 0.3 * 0.6 = 0.58; chances 0.2 and 0.6."""
    replay, problem = by_hand(), made_answers(1, 4, seed=0)[0]
    problem = Problem((), 10.0, 1.0, 0.0, parse_budget("uniform:0,20"), policy="confidence")
    stairs = Staircase(np.array([4.0, 8.0]), np.array([0.5, 0.8]), np.zeros((2, replay.exits)))
    chances, nothing = stairs.chances(problem)
    assert stairs.value(problem) == pytest.approx(0.58)
    assert (*chances, nothing) == pytest.approx((0.2, 0.6, 0.2))
    assert [stairs.at(budget) for budget in (3.9, 4.0, 7.0, 90.0)] == [None, 0, 0, 1]
    # A fallback above the first point: 0.6 + 0.2 * 0.6 = 0.72.
    high = Problem((), 10.0, 1.0, 0.6, problem.budget, policy="confidence")
    assert stairs.value(high) == pytest.approx(0.72)
    assert len(stairs.thinned(high, 1).costs_ms) == 1
    assert stairs.thinned(high, 1).value(high) == pytest.approx(0.72)


def test_efficient_points() -> None:
    assert efficient(np.array([3.0, 1.0, 2.0, 1.0]), np.array([0.5, 0.4, 0.4, 0.3])).tolist() == [1, 0]


@pytest.mark.parametrize("seed", range(4))
def test_thinning_keeps_the_best_points(seed: int) -> None:
    """Against every subset of the points of a small staircase."""
    problem, answers = made_answers(2, 60, seed=seed)
    stairs = optimise(Replay(problem, answers, (0, 1)), levels=6)
    rows = range(len(stairs.costs_ms))
    assert len(rows) > 5
    for most in (1, 2, 3):
        best = max(
            stairs._taken(np.array(kept)).value(problem) for kept in itertools.combinations(rows, min(most, len(rows)))
        )
        thinned = stairs.thinned(problem, most)
        assert len(thinned.costs_ms) <= most
        assert thinned.value(problem) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_within_a_tenth_of_a_point_of_the_whole_grid(seed: int) -> None:
    """Three exits, 20 levels each and off: 9,261 configurations, at every budget and in expected value."""
    problem, answers = made_answers(3, 2000, seed=seed)
    replay = Replay(problem, answers, (0, 1, 2))
    axes = [[*np.quantile(scores, np.linspace(0, 0.95, 20)), OFF] for scores in replay.scores]
    grid = replay.staircase(np.array(list(itertools.product(*axes))))
    found = optimise(replay)
    assert found.value(problem) >= grid.value(problem) - 1e-9
    ours = found.values[[found.at(cost + 1e-9) for cost in grid.costs_ms]]
    assert (grid.values - ours).max() <= 0.001 + 1e-9
    assert found.thinned(problem, 32).value(problem) >= grid.thinned(problem, 32).value(problem) - 1e-3


@pytest.mark.parametrize("score", ["softmax", "patience"])
def test_the_optimisers_points_are_true(score: str) -> None:
    """Costs and accuracies come from sums by level; replaying the thresholds gives the same."""
    problem, answers = made_answers(4, 500, seed=9, score=score)
    replay = Replay(problem, answers, (0, 1, 3))
    found = optimise(replay, prices=6)
    assert len(found.costs_ms) > 3
    for cost, value, thresholds in zip(found.costs_ms, found.values, found.thresholds, strict=True):
        assert replay.point(thresholds) == (pytest.approx(cost), pytest.approx(value))
    tidy = replay.tidied(found)
    assert tidy.value(problem) >= found.value(problem) - 1e-12
    for thresholds in tidy.thresholds:
        assert np.isinf(thresholds[replay.rates(thresholds)[0][:-1] == 0]).all()


def test_no_exits_are_the_backbone_alone() -> None:
    problem, answers = made_answers(2, 50, seed=0)
    found = optimise(Replay(problem, answers, ()))
    assert found.costs_ms.tolist() == [15.0]
    assert found.values.tolist() == [problem.final_value]


@pytest.mark.parametrize("seed", [9, 44])
def test_a_way_that_leads_through_two_exits_at_once_is_found(seed: int) -> None:
    """Exits of a middling value each: on the way to the best point from the others, two thresholds change together.

    Every threshold of twelve samples is tried beside it; one exit moved at a time loses two to four points here.
    """
    rng, samples = np.random.default_rng(seed), 12
    right = rng.random((4, samples)) < np.array([[0.85], [0.9], [0.7], [0.8]])
    sure = np.where(right, rng.uniform(0.5, 1, right.shape), rng.uniform(0.3, 0.8, right.shape)).astype(np.float32)
    costs = ((5.0, 1.0), (6.0, 0.5), (11.0, 0.8))
    candidates = tuple(Candidate(k, "a", arrival, head, 0.5) for k, (arrival, head) in enumerate(costs))
    problem = Problem(candidates, 12.0, 0.8, 0.0, parse_budget("uniform:0,14"), policy="confidence")
    replay = Replay(problem, Answers("softmax", sure, right, np.zeros((4, samples), np.int32), np.ones(4)), (0, 1, 2))
    axes = [[*np.unique(scores), OFF] for scores in replay.scores]
    best = replay.staircase(np.array(list(itertools.product(*axes)))).value(problem)
    assert optimise(replay).value(problem) == pytest.approx(best)
