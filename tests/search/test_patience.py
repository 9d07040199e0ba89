from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from samples import made_answers

from exitsearch.search.thresholds import patience
from exitsearch.search.thresholds.optimise import optimise
from exitsearch.search.thresholds.patience import every_threshold
from exitsearch.search.thresholds.replay import Replay


@pytest.mark.parametrize("quantile", [None, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_equal_to_every_threshold_replayed(seed: int, quantile: float | None) -> None:
    """Four exits: thresholds 0 to 4 and off at each, 1,296 configurations."""
    problem, answers = made_answers(4, 60 + seed, seed=seed, score="patience")
    replay = Replay(replace(problem, quantile=quantile), answers, (0, 1, 2, 3))
    axes = [[0.0, 1.0, 2.0, 3.0, np.inf]] * 4
    grid = replay.staircase(np.array(list(itertools.product(*axes))))
    found = every_threshold(replay)
    assert found is not None
    assert found.costs_ms == pytest.approx(grid.costs_ms)
    assert found.values == pytest.approx(grid.values)
    for cost, value, thresholds in zip(found.costs_ms, found.values, found.thresholds, strict=True):
        assert replay.point(thresholds) == (pytest.approx(cost), pytest.approx(value))


def test_answers_of_any_worth() -> None:
    problem, answers = made_answers(3, 40, seed=1, score="patience")
    answers = replace(answers, right=np.random.default_rng(0).random(answers.right.shape))
    replay = Replay(problem, answers, (0, 1, 2))
    found = every_threshold(replay)
    assert found is not None
    assert found.value(problem) >= optimise(replay).value(problem) - 1e-12
    assert replay.point(found.thresholds[-1]) == (pytest.approx(found.costs_ms[-1]), pytest.approx(found.values[-1]))


def test_too_many_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, answers = made_answers(4, 60, seed=0, score="patience")
    monkeypatch.setattr(patience, "_MOST_CELLS", 10)
    assert every_threshold(Replay(problem, answers, (0, 1, 2, 3))) is None


def test_no_exits_are_the_backbone_alone() -> None:
    problem, answers = made_answers(2, 50, seed=0, score="patience")
    found = every_threshold(Replay(problem, answers, ()))
    assert found is not None
    assert found.costs_ms.tolist() == [15.0]
    assert found.values.tolist() == [pytest.approx(problem.final_value)]
