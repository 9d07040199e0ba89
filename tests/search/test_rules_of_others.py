from __future__ import annotations

import numpy as np
import pytest
from samples import made_answers

from exitsearch.search.thresholds.optimise import optimise
from exitsearch.search.thresholds.replay import Replay
from exitsearch.search.thresholds.rules import greedy_thresholds, quota, quota_thresholds


def test_quota_lets_the_asked_shares_leave() -> None:
    """p = 1/2 with two exits: shares 1/2, 1/4, 1/8 over 7/8 = 4/7, 2/7, 1/7 of 700 samples."""
    problem, answers = made_answers(2, 700, seed=1)
    replay = Replay(problem, answers, (0, 1))
    rates, _ = replay.rates(quota_thresholds(replay.scores, 0.5))
    assert (rates * 700).round().tolist() == [400, 200, 100]


@pytest.mark.parametrize("exits", [2, 4])
def test_ours_is_above_both_rules(exits: int) -> None:
    problem, answers = made_answers(exits, 1000, seed=exits)
    replay = Replay(problem, answers, tuple(range(exits)))
    ours = optimise(replay)
    for rule in (quota, greedy_thresholds):
        theirs = rule(replay)
        assert len(theirs.costs_ms) > 5
        assert ours.value(problem) > theirs.value(problem)
        ahead = ours.values[[ours.at(cost + 1e-9) for cost in theirs.costs_ms]] - theirs.values
        assert ahead.min() >= -0.003  # three samples of a thousand, between two levels
        assert ahead.mean() > 0


def test_greedy_begins_with_everything_off_and_ends_with_all_leaving_first() -> None:
    problem, answers = made_answers(2, 300, seed=3)
    found = greedy_thresholds(Replay(problem, answers, (0, 1)))
    assert found.costs_ms[0] >= 6.0
    assert found.values[-1] >= found.values[0]
    assert np.isinf(found.thresholds[-1]).any()
