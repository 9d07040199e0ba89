"""What untrained candidates could add, and which are trained next: by hand and against all choices."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from check_rounds import LIMITS, Bank, Lookup, made_up
from random_problems import all_choices
from toy_documents import toy_outcomes, toy_profile

from exitsearch.errors import InputError
from exitsearch.search.build import build_problem
from exitsearch.search.run import search_request
from exitsearch.search.solver import solve
from exitsearch.search.untrained import TOLERANCE, Standing, candidates_of, first_round, settled
from exitsearch.search.utility import Utility, load_class_weights
from exitsearch.search.valuation import Valuation
from exitsearch.search.value import expected_value
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.candidates import Pair
from exitsearch.specs.question.request import SearchRequest

COSTS = "part,placement,head,latency_ms,params\nsegment,0,,10,1\nsegment,1,,10,1\nfinal,,,10,1\n" + "".join(
    f"head,{place},{head},{ms},{params}\n" for place in (0, 1) for head, ms, params in (("a", 1, 10), ("b", 4, 90))
)
VALUES = {(0, "a"): 0.6, (0, "b"): 0.7, (1, "a"): 0.8, (1, "b"): 0.85}


def documents(*trained: Pair) -> tuple[Profile, Outcomes]:
    """Exits at 10 and 20 ms, the final one at 30; heads a of 1 ms and b of 4 ms; values of those that are trained."""
    heads = [{"placement": p, "head": h, "scores": {"choice": VALUES[p, h]}} for p, h in trained]
    outcomes = {
        "schema_version": 1,
        "backbone": {"name": None},
        "metric": "accuracy",
        "fallback": 0.0,
        "splits": {"choice": 0},
    }
    outcomes |= {"heads": heads, "final": {"scores": {"choice": 0.9}}}
    return Profile.parse_costs_csv(COSTS, "costs"), Outcomes.parse(outcomes, "outcomes")


def standing(*trained: Pair, **asked: Any) -> Standing:
    profile, outcomes = documents(*trained)
    request = SearchRequest.asked(**{"budget": "uniform:0,40", **asked})
    return Standing.of(profile, Valuation(outcomes), request, candidates_of(profile, request))


def test_by_hand() -> None:
    """Budgets uniform from 0 to 40, G(t) = 1 - t/40. Trained is a at both: answers at 11, 22, 32 ms, worth
    0.6 * 29/40 + 0.2 * 18/40 + 0.1 * 8/40 = 0.545. Were b at placement 0 always right, at 14 ms, it alone would be
    worth 26/40 = 0.65; and b at 1 after a, at 25 ms, 0.6 * 29/40 + 0.4 * 15/40 = 0.585. So 0.65 bounds all, and b at 0
    is needed."""
    found = standing((0, "a"), (1, "a"))
    assert (0, "b") in found.next_round(0.0)
    said = found.could_add(0.545, optimum=0.545)
    assert (said.candidates, said.trained, said.exits) == (4, 2, ["0:b", "1:b"])
    assert said.value == pytest.approx(0.65)
    assert said.could_add == pytest.approx(0.105)
    assert said.assumption is None


def test_what_is_tolerated_is_left() -> None:
    """As above: 0.105 is left to gain."""
    found = standing((0, "a"), (1, "a"))
    assert found.next_round(0.106) == []
    assert (0, "b") in found.next_round(0.104)
    assert found.tolerance == TOLERANCE


def test_a_round_looks_ahead() -> None:
    """With b at 0 likely worth no more than a there, b at 1 comes next: 0.585 is more than 0.545. Both are trained in
    one round; with 0.585 - 0.545 = 0.04 tolerated b at 0 alone."""
    found = standing((0, "a"), (1, "a"))
    assert found.next_round(0.0) == [(0, "b"), (1, "b")]
    assert found.next_round(0.041) == [(0, "b")]
    assert standing((0, "a"), (0, "b"), (1, "a")).next_round(0.0) == [(1, "b")]
    assert standing(*VALUES).next_round(0.0) == []


def test_a_round_takes_no_longer_than_all_before_it() -> None:
    """Training b takes 12 ms in the profile's units; before are 30 ms of the backbone, and 6 of both a. With a backbone
    of 3 ms there is room for one b alone, which the best choice needs."""
    assert sum(head == "b" for _, head in standing((0, "a"), (1, "a")).next_round(0.0)) == 2
    profile, outcomes = documents((0, "a"), (1, "a"))
    small = Profile.parse_costs_csv(COSTS.replace(",10,1", ",1,1"), "costs")
    request = SearchRequest.asked(budget="uniform:0,40")
    found = Standing.of(small, Valuation(outcomes), request, candidates_of(profile, request)).next_round(0.0)
    assert [head for _, head in found] == ["b"]


def test_all_trained_leaves_nothing_to_add() -> None:
    said = standing(*VALUES).could_add(0.5, optimum=0.6)
    assert (said.candidates, said.trained, said.exits, said.could_add) == (4, 4, [], 0.0)
    assert said.value == 0.6


def test_limits_hold_for_what_is_not_trained_too() -> None:
    """b takes 90 parameters: with at most 50 it is no way to gain, and with one exit forbidden it is none either."""
    assert standing((0, "a"), (1, "a"), max_extra_params=50).next_round(0.0) == []
    found = standing((0, "a"), (1, "a"), forbid=["0:b", "1:b"])
    assert found.next_round(0.0) == []
    assert found.could_add(0.545, optimum=0.545).candidates == 2
    assert standing((0, "a"), (1, "a"), heads="a").could_add(0.545, optimum=0.545).candidates == 2


def test_an_exit_that_must_stand_is_trained() -> None:
    found = standing((0, "a"), force=["1:b"])
    assert found.trained is None
    assert (1, "b") in found.next_round(10.0)
    with pytest.raises(InputError, match="must stand at placement 1, and no head is trained there"):
        _ = found.choosable
    profile, outcomes = documents((0, "a"))
    request = SearchRequest.asked(budget="uniform:0,40", force=["1"])
    with pytest.raises(InputError, match="must stand at placement 1"):
        search_request(profile, outcomes, request, trials=0, untrained=candidates_of(profile, request))


def test_a_value_that_no_trained_head_reaches_is_looked_for() -> None:
    """0.65 within 15 ms is only b's at placement 0."""
    found = standing((0, "a"), (1, "a"), min_value_at=["15ms=0.65"])
    assert found.next_round(10.0) == [(0, "b")]
    trained = standing((0, "a"), (1, "a"), (0, "b"), min_value_at=["15ms=0.65"])
    assert trained.next_round(0.5) == []


def test_what_no_training_can_reach_is_refused() -> None:
    with pytest.raises(InputError, match="no choice of exits keeps to all limits"):
        standing((0, "a"), (1, "a"), min_value_at=["5ms=0.1"]).next_round(0.0)


def test_an_answer_in_the_first_round_for_every_placement() -> None:
    """a takes 1 ms at two placements, b 4 ms: 10 ms in all, of 1.25 * 30 that are allowed; with a backbone of 3 ms
    1.25 * 3 allow a alone, and what is forced comes on top."""
    profile, _ = documents()
    request = SearchRequest.asked(budget="uniform:0,40")
    exits = candidates_of(profile, request)
    assert first_round(profile, request, exits) == sorted(VALUES)
    small = Profile.parse_costs_csv(COSTS.replace(",10,1", ",1,1"), "costs")
    assert first_round(small, request, exits) == [(0, "a"), (1, "a")]
    assert first_round(small, request, [(0, "b"), (1, "a")]) == [(0, "b"), (1, "a")]
    forced = SearchRequest.asked(budget="uniform:0,40", force=["1:b", "0"])
    assert first_round(small, forced, exits) == [(0, "a"), (1, "b")]


def shown(bank: Bank, seed: int) -> tuple[Outcomes, list[Pair]]:
    """Values of about half of a bank's candidates, and the others."""
    exits = candidates_of(bank.profile, bank.request)
    rng = np.random.default_rng(seed)
    trained = [pair for pair in exits if rng.random() < 0.5]
    outcomes = Lookup(bank.outcomes)(trained)
    return outcomes, [pair for pair in exits if pair not in settled(outcomes)]


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
@pytest.mark.parametrize("seed", range(28))
def test_the_bound_is_the_best_of_all_choices(seed: int, policy: Any) -> None:
    """By brute force: the largest value of any choice that keeps to the limits, untrained heads at their best."""
    metric = ("accuracy", "mae")[seed // 7 % 2]
    bank = made_up(seed, placements=3, heads=3, metric=metric, limit=LIMITS[seed % 7])
    request = bank.request.changed(policy=policy)
    outcomes, untrained = shown(bank, seed)
    found = Standing.of(bank.profile, Valuation(outcomes), request, untrained)
    best = 1.0 if metric == "accuracy" else 0.0
    assert all((c.value == best) == (k in found.untrained) for k, c in enumerate(found.problem.candidates))
    optimum = max((expected_value(found.problem, choice) for choice in all_choices(found.problem)), default=-math.inf)
    said = found.could_add(-100.0, optimum=-100.0)
    assert said.value == pytest.approx(max(optimum, -100.0), abs=1e-12)
    if optimum == -math.inf:
        return
    # Whatever the heads turn out to be worth, it is never more.
    rng = np.random.default_rng(seed)
    for _ in range(5):
        supposed = {pair: best - float(rng.random()) for pair in untrained}
        problem, _ = build_problem(bank.profile, outcomes, request, supposed=supposed)
        worths = [expected_value(problem, choice) for choice in all_choices(problem)]
        assert max(worths, default=-math.inf) <= said.value + 1e-12


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_the_bound_is_never_below_what_all_then_show(policy: Any) -> None:
    """A hundred banks of both metrics and all limits, half of each trained; most others do add something."""
    gains = []
    for seed in range(100):
        bank = made_up(seed, placements=5, heads=4, metric=("accuracy", "mae")[seed // 7 % 2], limit=LIMITS[seed % 7])
        request = bank.request.changed(policy=policy)
        outcomes, untrained = shown(bank, seed)
        found = Standing.of(bank.profile, Valuation(outcomes), request, untrained)
        whole = solve(build_problem(bank.profile, bank.outcomes, request)[0], by_count=False).value
        try:
            known = solve(found.choosable, by_count=False).value
        except InputError:  # where the only exit that keeps to the limits is not trained
            known = -100.0
        said = found.could_add(known, optimum=known)
        gains.append(whole - known)
        assert gains[-1] <= said.could_add + 1e-12, (bank.name, gains[-1], said.could_add)
        assert whole <= said.value + 1e-12
    assert sum(gain > 1e-6 for gain in gains) >= 60, gains


def test_forbidding_what_is_not_trained_is_no_mistake() -> None:
    profile, outcomes = documents((0, "a"), (1, "a"))
    request = SearchRequest.asked(budget="uniform:0,40", forbid=["0:b"])
    result = search_request(profile, outcomes, request, trials=0, untrained=candidates_of(profile, request))
    assert result.value == pytest.approx(0.545)
    assert result.config.optimum.untrained is not None
    assert result.config.optimum.untrained.exits == ["1:b"]
    with pytest.raises(InputError, match="no candidate"):  # as ever where nothing is said of untrained ones
        search_request(profile, outcomes, request, trials=0)


def test_only_trained_heads_are_chosen() -> None:
    profile, outcomes = documents((0, "a"), (1, "a"))
    request = SearchRequest.asked(budget="uniform:0,40")
    result = search_request(profile, outcomes, request, trials=0, untrained=[(0, "b"), (1, "b")])
    optimum = result.config.optimum
    assert result.value == pytest.approx(0.545)
    assert (optimum.value, optimum.exact, optimum.regret) == (result.value, True, 0.0)
    assert optimum.untrained is not None
    assert optimum.untrained.could_add == pytest.approx(0.105)
    assert result.config.request is not None
    assert result.config.request.pairs == 2
    assert search_request(profile, outcomes, request, trials=0).config.optimum.untrained is None


def test_confidence_has_no_bound_and_says_so(tmp_path: Path) -> None:
    profile, outcomes = toy_profile(), toy_outcomes(tmp_path / "outcomes")
    request = SearchRequest.asked(budget="uniform:0,10", policy="confidence")
    some = outcomes.model_copy(update={"heads": outcomes.heads[1:]})
    result = search_request(profile, some, request, trials=0, untrained=[(0, "a")])
    assert result.config.optimum.untrained is None
    assert any("1 further candidates of the profile are not trained" in note for note in result.notes)
    whole = search_request(profile, outcomes, request, trials=0, untrained=[])
    assert whole.config.optimum.untrained is not None
    assert (whole.config.optimum.untrained.trained, whole.config.optimum.untrained.candidates) == (3, 3)


def test_class_weights_are_at_most_one_and_proved(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("label,weight\n0,1\n1,3\n")
    valued = Valuation(toy_outcomes(tmp_path / "o"), load_class_weights(tmp_path / "w.csv"))
    assert valued.ceiling.value == pytest.approx(1.0)
    assert valued.ceiling.assumption is None


def test_a_function_of_ones_own_is_an_assumption(tmp_path: Path) -> None:
    """2 for a right answer, -1 for a wrong one; and one that is worth more when it is wrong, as a trained exit shows:
    the final exit is wrong on one of ten, and each sample counts at the best that was seen or supposed."""
    outcomes = toy_outcomes(tmp_path / "o")
    plain = Utility("mine", lambda outputs, labels: np.where(outputs.argmax(axis=1) == labels, 2.0, -1.0))
    assert Valuation(outcomes, plain).ceiling.value == 2.0
    assert "mine" in (Valuation(outcomes, plain).ceiling.assumption or "")
    odd = Utility("odd", lambda outputs, labels: np.where(outputs.argmax(axis=1) == labels, 0.0, 1.0))
    # Wrong somewhere: (0, "a") on the last four samples, which all others' errors are among.
    assert Valuation(outcomes, odd).ceiling.value == pytest.approx(0.4)
    request = SearchRequest.asked(budget="uniform:0,10", worth="mine")
    some = outcomes.model_copy(update={"heads": outcomes.heads[1:]})
    result = search_request(toy_profile(), some, request, utility=plain, trials=0, untrained=[(0, "a")])
    assert result.config.optimum.untrained is not None
    assert result.config.optimum.untrained.assumption == Valuation(some, plain).ceiling.assumption


def test_tolerance_of_other_metrics_is_a_share_of_the_way() -> None:
    """Errors of up to 25 with no answer: a hundredth of the way to no error."""
    bank = made_up(0, placements=3, heads=3, metric="mae")
    found = Standing.of(bank.profile, Valuation(bank.outcomes), bank.request, [])
    assert found.tolerance == pytest.approx(0.25)


def test_likely_values_never_ask_for_what_is_trained() -> None:
    for seed, tolerance in itertools.product(range(6), (0.0, 0.01)):
        bank = made_up(seed, placements=4, heads=4)
        outcomes, untrained = shown(bank, seed)
        asked = Standing.of(bank.profile, Valuation(outcomes), bank.request, untrained).next_round(tolerance)
        assert set(asked) <= set(untrained)
