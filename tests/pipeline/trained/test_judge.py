"""What a configuration's own question says of scores: against the search, and against budgets drawn one by one."""

from __future__ import annotations

import numpy as np
import pytest
from random_tables import random_outcomes, random_profile

from exitsearch.errors import FileError, InputError, MismatchError
from exitsearch.pipeline.trained.judge import chances_of, judge_of
from exitsearch.search.run import search_request
from exitsearch.search.utility import Utility
from exitsearch.specs.budget import parse_budget
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.question.request import SearchRequest

BUDGETS = ("uniform:1,14", "normal:6,3", "exponential:5", "discrete:3@0.2,6@0.5,9@0.3", "uniform:10%,120%")


def found(seed, folder, *, policy, metric="accuracy", noise=True, utility=None, **asked):
    """A profile, and what a search of random tables finds."""
    rng = np.random.default_rng(seed)
    profile = random_profile(rng, noise=noise)
    outcomes = random_outcomes(rng, profile, folder, metric=metric)
    asked = {
        "budget": BUDGETS[seed % len(BUDGETS)],
        "policy": policy,
        "max_exits": 2 if policy == "confidence" else 3,
        **asked,
    }
    request = SearchRequest.asked(**asked, worth=utility.name if utility else None)
    return profile, search_request(profile, outcomes, request, trials=0, utility=utility)


@pytest.mark.parametrize("policy", ["interruptible", "contract", "confidence"])
@pytest.mark.parametrize("seed", range(4))
def test_own_scores_are_worth_what_the_search_says(tmp_path, seed, policy):
    profile, result = found(seed, tmp_path, policy=policy)
    scores = result.config.exit_scores["choice"]
    assert judge_of(result.config, profile=profile)(scores) == pytest.approx(result.value, abs=1e-12)
    chances = chances_of(result.config, profile=profile)
    assert chances == pytest.approx([row.chance for row in result.rows], abs=1e-12)
    assert sum(chances) == pytest.approx(1 - result.no_answer, abs=1e-12)


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
@pytest.mark.parametrize("seed", range(4))
def test_errors_count_downwards(tmp_path, seed, policy):
    profile, result = found(seed, tmp_path, policy=policy, metric="mae")
    judge, scores = judge_of(result.config, profile=profile), result.config.exit_scores["choice"]
    assert judge(scores) == pytest.approx(result.value, abs=1e-12)
    assert judge([score / 2 for score in scores]) > judge(scores)


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
@pytest.mark.parametrize("seed", range(4))
def test_other_scores_are_worth_what_the_search_says_of_them(tmp_path, seed, policy):
    """The report split's scores stand for those of a trained model: the search values them by the same formula."""
    profile, result = found(seed, tmp_path, policy=policy)
    config = result.config
    outcomes = Outcomes.load(tmp_path)
    exits = {(e.placement, str(e.choice)): s for e, s in zip(config.exits, config.exit_scores["report"], strict=False)}
    swapped = outcomes.model_copy(
        update={
            "heads": [
                head.model_copy(update={"scores": dict.fromkeys(head.scores, exits[head.placement, head.head])})
                for head in outcomes.heads
                if (head.placement, head.head) in exits
            ],
            "final": outcomes.final.model_copy(
                update={"scores": dict.fromkeys(outcomes.splits, config.exit_scores["report"][-1])}
            ),
        }
    )
    swapped._folder = None
    force = [f"{place}:{head}" for place, head in exits]
    asked = SearchRequest.asked(budget=config.budget, policy=policy, force=force)
    if exits:
        again = search_request(profile, swapped, asked, trials=0)
        judged = judge_of(config, profile=profile)(config.exit_scores["report"])
        assert judged == pytest.approx(again.value, abs=1e-12)


@pytest.mark.parametrize("policy", ["interruptible", "contract", "confidence"])
@pytest.mark.parametrize("seed", range(3))
def test_chances_are_those_of_budgets_drawn_one_by_one(tmp_path, seed, policy):
    """Budgets at even chances, with every slow-down: which exit's answer is in hand, or run, or where inputs leave."""
    profile, result = found(seed, tmp_path, policy=policy)
    config, distribution = result.config, parse_budget(result.config.budget)
    drawn = [distribution.quantile((number + 0.5) / 2000) for number in range(2000)]
    budgets = np.repeat(drawn, len(profile.slowdown))
    slow = np.tile(profile.slowdown, len(drawn))
    exits = [(e.placement, str(e.choice)) for e in config.exits]
    used = np.zeros(len(exits) + 2)  # the last one: no answer
    if policy == "confidence":
        points = config.confidence.points
        rates = np.array([point.exit_rates for point in points])
        last = np.full(len(budgets), -1)
        for number, point in enumerate(points):
            last[budgets >= slow * point.budget_ms] = number
        for number in range(len(points)):
            used[:-1] += (last == number).sum() * rates[number]
        used[-1] = (last < 0).sum()
    else:
        times = profile.path_ms(exits)
        if policy == "contract":
            times = [profile.path_ms([one])[0] for one in exits] + [profile.full_ms]
        best, which = np.zeros(len(budgets)), np.full(len(budgets), len(exits) + 1)
        for number, (ms, score) in enumerate(zip(times, config.exit_scores["choice"], strict=True)):
            better = (budgets >= slow * ms) & (score > best)
            best[better], which[better] = score, number
        used = np.bincount(which, minlength=len(used)).astype(float)
    used /= len(budgets)
    assert chances_of(config, profile=profile) == pytest.approx(used[:-1], abs=0.002)
    assert 1 - sum(chances_of(config, profile=profile)) == pytest.approx(used[-1], abs=0.002)


@pytest.mark.parametrize("policy", ["interruptible", "confidence"])
def test_without_a_profile_times_are_those_of_the_configuration(tmp_path, policy):
    """Without noise the configuration holds all that these two policies need."""
    _, result = found(1, tmp_path, policy=policy, noise=False)
    assert judge_of(result.config)(result.config.exit_scores["choice"]) == pytest.approx(result.value, abs=1e-12)
    assert chances_of(result.config) == pytest.approx([row.chance for row in result.rows], abs=1e-12)


def test_without_a_profile_a_contract_is_valued_too_low_rather_than_too_high(tmp_path):
    profile, result = found(3, tmp_path, policy="contract", noise=False, force=["0", "1"], budget="uniform:0,8")
    rising = [0.4, 0.6, 0.9]
    assert judge_of(result.config)(rising) < judge_of(result.config, profile=profile)(rising)


def test_under_confidence_a_better_exit_is_worth_its_share(tmp_path):
    """Every exit one point better: every chance of an answer is worth one point more."""
    profile, result = found(2, tmp_path, policy="confidence")
    judge, scores = judge_of(result.config, profile=profile), result.config.exit_scores["choice"]
    gain = judge([score + 0.01 for score in scores]) - judge(scores)
    assert gain == pytest.approx(0.01 * sum(chances_of(result.config, profile=profile)), abs=1e-12)


def test_by_hand(tmp_path):
    """Budgets uniform from 0 to 10, exits at 2 and 6 ms, final at 8 ms: G = 0.8, 0.4, 0.2.

    Scores 0.5, 0.7, 0.9: 0.5 * 0.8 + 0.2 * 0.4 + 0.2 * 0.2 = 0.52, chances 0.4, 0.2, 0.2. With 0.5, 0.4, 0.9 the
    second is never used: 0.5 * 0.8 + 0.4 * 0.2 = 0.48, chances 0.6, 0, 0.2.
    """
    _, result = found(0, tmp_path, policy="interruptible", noise=False)
    exits = [{"placement": 0, "head": "a"}, {"placement": 1, "head": "a"}]
    data = result.config.model_dump() | {
        "exits": exits,
        "latency_ms": [2.0, 6.0, 8.0],
        "budget": "uniform:0,10",
        "request": None,
    }
    config = type(result.config).model_validate(data | {"exit_scores": {"choice": [0.5, 0.7, 0.9]}})
    judge = judge_of(config)
    assert judge.words == "expected value under uniform:0,10 ms, interruptible"
    assert judge([0.5, 0.7, 0.9]) == pytest.approx(0.52)
    assert judge([0.5, 0.4, 0.9]) == pytest.approx(0.48)
    assert chances_of(config) == pytest.approx((0.4, 0.2, 0.2))
    assert chances_of(config, scores=[0.5, 0.4, 0.9]) == pytest.approx((0.6, 0.0, 0.2))
    # Where no scores are kept, every exit counts for better than the one before it.
    unscored = config.model_copy(update={"exit_scores": {}, "fallback": None})
    assert chances_of(unscored) == pytest.approx((0.4, 0.2, 0.2))


def test_a_utility_leaves_the_metric_to_the_judge(tmp_path):
    """A fallback of a utility says nothing of an accuracy: having no answer is then worth 0."""
    harsh = Utility("harsh", lambda out, labels: np.where(out.argmax(axis=1) == labels, 1.0, -3.0), fallback=-2.0)
    profile, result = found(1, tmp_path, policy="interruptible", utility=harsh)
    judge = judge_of(result.config, profile=profile)
    assert judge([1.0] * (len(result.config.exits) + 1)) <= 1.0
    assert judge([0.0] * (len(result.config.exits) + 1)) == 0.0


def test_wrong_input_is_said(tmp_path):
    profile, result = found(0, tmp_path, policy="interruptible")
    with pytest.raises(InputError, match=r"scores are needed.*found 1"):
        judge_of(result.config)([0.5])
    config = result.config.model_copy(update={"budget": "trace:nowhere.csv"})
    with pytest.raises(FileError, match=r"nowhere\.csv"):
        judge_of(config)
    other = profile.model_copy(update={"backbone": profile.backbone.model_copy(update={"name": "other"})})
    with pytest.raises(MismatchError, match="of backbone toy"):
        chances_of(result.config, profile=other)
    with pytest.raises(InputError, match="holds no head"):
        chances_of(result.config, profile=profile.model_copy(update={"heads": []}))
