"""Budgets that limit a quantile of the latency: by hand, against a whole grid, and through the search."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import made_answers
from test_replay import by_hand
from toy_documents import toy_outcomes, toy_profile

from exitsearch.errors import InputError
from exitsearch.search.run import search
from exitsearch.search.thresholds.optimise import optimise
from exitsearch.search.thresholds.oracle import quantile_bound
from exitsearch.search.thresholds.quantile import operating_points
from exitsearch.search.thresholds.replay import Replay
from exitsearch.specs.config import MultiExitConfig

OFF = np.inf


@pytest.mark.parametrize(
    ("quantile", "thresholds", "cost"),
    [
        # Half leave at 3 ms, a quarter at 7 ms, a quarter at 13 ms (test_confidence.py).
        (0.5, (0.8, 0.5), 3.0),
        (0.51, (0.8, 0.5), 7.0),
        (0.75, (0.8, 0.5), 7.0),
        (0.9, (0.8, 0.5), 13.0),
        (0.5, (OFF, 0.7), 6.0),
        (0.99, (OFF, OFF), 10.0),
    ],
)
def test_a_quantile_by_hand(quantile: float, thresholds: tuple[float, ...], cost: float) -> None:
    replay = by_hand()
    replay.quantile = quantile
    assert replay.point(np.array(thresholds))[0] == cost


def test_operating_points_by_hand() -> None:
    """At least three of four samples must have left by the cut.

    At the first exit (3 ms) all but the unsurest leave: samples 0 to 2 with 1, 1, 0 right. The fourth goes on, and is
    right at the second exit or the end: 3/4. With the second exit as the cut (head on: 6 ms) the best three leave,
    those with scores 0.9, 0.7, 0.5, of which two are right, and the fourth at the end: 3/4, which is no better; the
    final exit (10 ms) answers all rightly. With both heads on, at 7 ms, samples 0 and 1 leave first, rightly, sample 2
    at the second, rightly, sample 3 at the end: all right.
    """
    replay = by_hand()
    replay.quantile = 0.75
    found = operating_points(replay)
    assert found.costs_ms.tolist() == [3.0, 7.0]
    assert found.values.tolist() == [0.75, 1.0]
    only = operating_points(replay, before=0)
    assert only.costs_ms.tolist() == [3.0, 10.0]


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("seed", range(3))
def test_within_a_tenth_of_a_point_of_the_whole_grid(seed: int, quantile: float) -> None:
    """Three exits, 20 levels each and off: 9,261 configurations, at every budget and in expected value."""
    problem, answers = made_answers(3, 2000, seed=seed)
    problem = replace(problem, quantile=quantile)
    replay = Replay(problem, answers, (0, 1, 2))
    axes = [[*np.quantile(scores, np.linspace(0, 0.95, 20)), OFF] for scores in replay.scores]
    grid = replay.staircase(np.array(list(itertools.product(*axes))))
    found = operating_points(replay)
    assert found.value(problem) >= grid.value(problem) - 1e-3
    ours = found.values[[found.at(cost + 1e-9) for cost in grid.costs_ms]]
    assert (grid.values - ours).max() <= 0.001 + 1e-9
    assert found.value(problem) <= quantile_bound(problem, answers, quantile) + 1e-12
    # A choice that is quick to judge is close.
    assert operating_points(replay, quick=True).value(problem) >= found.value(problem) - 0.005


def test_points_are_true_under_patience_too() -> None:
    problem, answers = made_answers(4, 500, seed=9, score="patience")
    replay = Replay(replace(problem, quantile=0.8), answers, (0, 1, 3))
    found = operating_points(replay)
    assert len(found.costs_ms) > 1
    for cost, value, thresholds in zip(found.costs_ms, found.values, found.thresholds, strict=True):
        assert replay.point(thresholds) == (cost, value)
        rates = replay.rates(thresholds)[0]
        assert np.cumsum(rates)[replay.times(thresholds) <= cost][-1] >= 0.8 - 1e-9


def test_without_a_quantile_it_is_the_mean() -> None:
    problem, answers = made_answers(2, 200, seed=0)
    replay = Replay(problem, answers, (0, 1))
    assert operating_points(replay).value(problem) == optimise(replay).value(problem)


def test_the_bound_by_hand() -> None:
    """One exit at 6 ms, final at 10 ms, budgets uniform to 12; the exit is right on the first of two samples.

    Half of the samples may go on: at 6 ms both are right, 0.5 each from G(6) = 1/2. None may: 0.5 / 2 + 0.5 / 6.
    """
    problem, answers = made_answers(1, 2, seed=0)
    answers = replace(answers, right=np.array([[True, False], [True, True]]))
    assert quantile_bound(problem, answers, 0.5) == pytest.approx(0.5)
    assert quantile_bound(problem, answers, 0.9) == pytest.approx(0.25 + 0.5 / 6)


def test_the_search_for_a_quantile(tmp_path: Path) -> None:
    """Every toy answer is equally sure, so all leave at one exit and every quantile is the mean: 0.71 (test_run.py)."""
    outcomes = toy_outcomes(tmp_path / "outcomes")
    options = {"budget": "uniform:0,20", "policy": "confidence", "trials": 4}
    result = search(toy_profile(), outcomes, quantile=0.95, **options)  # type: ignore[arg-type]
    assert result.value == pytest.approx(0.71)
    assert result.config.optimum.value >= result.value
    config = MultiExitConfig.read(result.config.write(tmp_path / "chosen.json"))
    assert config.confidence is not None
    assert config.confidence.quantile == 0.95
    assert search(toy_profile(), outcomes, **options).config.confidence.quantile is None  # type: ignore
    with pytest.raises(InputError, match="above 0 and below 1"):
        search(toy_profile(), outcomes, quantile=1.5, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="goes with the policy confidence"):
        search(toy_profile(), outcomes, budget="point:5", quantile=0.9)
