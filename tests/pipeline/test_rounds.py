"""Training in rounds: the choice of all candidates with fewer heads, and a bound that is never too low."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from check_rounds import LIMITS, ROUNDING, Bank, Lookup, Row, in_rounds, judge, made_up

from exitsearch.errors import InputError
from exitsearch.pipeline.rounds import train_in_rounds
from exitsearch.search.run import search_request
from exitsearch.search.untrained import candidates_of
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.question.candidates import Pair


def bank_of(seed: int, *, policy: Any = "interruptible", **sizes: Any) -> Bank:
    """Metrics and limits take turns."""
    metric = ("accuracy", "mae")[seed // len(LIMITS) % 2]
    bank = made_up(seed, metric=metric, limit=LIMITS[seed % len(LIMITS)], **sizes)
    return Bank(bank.name, bank.profile, bank.outcomes, bank.request.changed(policy=policy))


@cache
def judged(seed: int, policy: Any) -> Row:
    return judge(bank_of(seed, policy=policy, placements=6, heads=6), tolerance=0.0)


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
@pytest.mark.parametrize("seed", range(10))
def test_without_tolerance_the_choice_is_that_of_all(seed: int, policy: Any) -> None:
    row = judged(seed, policy)
    assert row.wrong == ""
    assert row.same
    assert row.bound == row.gain == 0.0


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_fewer_heads_are_trained(policy: Any) -> None:
    """Of the ten banks of the test above all but one leave out some heads, and together a good part of the time."""
    rows = [judged(seed, policy) for seed in range(10)]
    assert sum(row.trained < row.candidates for row in rows) >= 9, [(row.bank, row.trained) for row in rows]
    assert sum(row.cost for row in rows) < 0.75 * len(rows), [row.cost for row in rows]


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_what_is_tolerated_is_what_all_then_show_at_most(policy: Any) -> None:
    """The bound of the rounds' end, which tests/search/test_untrained.py holds on a hundred banks half trained."""
    rows = []
    for seed in range(16):
        bank = bank_of(seed, policy=policy, placements=5, heads=5)
        scale = 1.0 if bank.outcomes.metric == "accuracy" else 25.0
        rows.append(judge(bank, tolerance=0.05 * scale))
        assert rows[-1].wrong == "", rows[-1]
    assert sum(row.trained < row.candidates for row in rows) >= 12
    assert any(row.bound > 0 for row in rows)


def test_one_round_of_everything() -> None:
    bank = bank_of(0, placements=3, heads=3)
    exits, train = candidates_of(bank.profile, bank.request), Lookup(bank.outcomes)
    found = train_in_rounds(bank.profile, bank.request, exits, train=train, everything=True)
    assert train.asked == [exits]
    assert found.untrained == ()
    assert found.trained == (tuple(exits),)


@pytest.mark.parametrize("asked", [{"policy": "confidence"}, {"objectives": ["value", "params"]}])
def test_where_no_optimum_says_what_is_needed_all_are_trained(asked: dict[str, Any]) -> None:
    bank = bank_of(0, placements=3, heads=3)
    request = bank.request.changed(**asked)
    train = Lookup(bank.outcomes)
    exits = candidates_of(bank.profile, request)
    assert train_in_rounds(bank.profile, request, exits, train=train, tolerance=math.inf).untrained == ()
    assert train.asked == [exits]


def test_no_head_is_trained_twice() -> None:
    bank = bank_of(0, placements=6, heads=6)
    rounds, _ = in_rounds(bank, tolerance=0.0)
    asked = [pair for pairs in rounds.trained for pair in pairs]
    assert len(asked) == len(set(asked))
    assert set(asked) | set(rounds.untrained) == set(candidates_of(bank.profile, bank.request))
    assert len(rounds.trained) > 1


def test_what_stands_is_gone_on_with() -> None:
    """Another question trains only what it needs beyond the first one's heads."""
    bank = bank_of(0, placements=6, heads=6)
    exits = candidates_of(bank.profile, bank.request)
    train = Lookup(bank.outcomes)
    first = train_in_rounds(bank.profile, bank.request, exits, train=train, tolerance=0.02)
    other = bank.request.changed(budget="point:90%")
    before = len(train.asked)
    second = train_in_rounds(bank.profile, other, exits, train=train, outcomes=first.outcomes, tolerance=0.0)
    assert not {pair for pairs in train.asked[:before] for pair in pairs} & {
        p for ps in train.asked[before:] for p in ps
    }
    whole = search_request(bank.profile, bank.outcomes, other, trials=0)
    found = search_request(bank.profile, second.outcomes, other, trials=0, untrained=second.untrained)
    assert found.config.exits == whole.config.exits
    # And a question that is answered already trains nothing.
    again = train_in_rounds(bank.profile, other, exits, train=train, outcomes=second.outcomes, tolerance=0.0)
    assert again.trained == ()


class Losing(Lookup):
    """Every head of one type diverges."""

    def __call__(self, exits: Sequence[Pair], *, words: str = "") -> Outcomes:
        found = super().__call__(exits, words=words)
        return found.model_copy(update={"heads": [head for head in found.heads if head.head != "h1"]})


def test_heads_that_could_not_be_trained_are_no_candidates() -> None:
    bank = bank_of(0, placements=4, heads=4)
    exits, train = candidates_of(bank.profile, bank.request), Losing(bank.outcomes)
    found = train_in_rounds(bank.profile, bank.request, exits, train=train, tolerance=0.0)
    asked = [pair for pairs in train.asked for pair in pairs]
    assert len(asked) == len(set(asked))
    assert any(head == "h1" for _, head in asked)
    assert not set(found.untrained) & set(asked)
    others = bank.outcomes.model_copy(update={"heads": [h for h in bank.outcomes.heads if h.head != "h1"]})
    whole = search_request(bank.profile, others, bank.request, trials=0)
    result = search_request(bank.profile, found.outcomes, bank.request, trials=0, untrained=found.untrained)
    assert result.value == pytest.approx(whole.value, abs=ROUNDING)
    # A later search knows them by the outcomes.
    lost = [SimpleNamespace(placement=place, head=head) for place, head in asked if head == "h1"]
    object.__setattr__(found.outcomes, "dropped", lost)
    again = train_in_rounds(bank.profile, bank.request, exits, train=train, outcomes=found.outcomes, tolerance=0.0)
    assert again.trained == ()


def test_without_candidates_nothing_is_trained() -> None:
    bank = bank_of(0, placements=2, heads=2)
    train = Lookup(bank.outcomes)
    with pytest.raises(InputError, match="no exit head is left to choose from"):
        train_in_rounds(bank.profile, bank.request, [], train=train)
    assert train.asked == []


def test_what_no_training_can_reach_is_said_after_the_first_round() -> None:
    bank = bank_of(0, placements=6, heads=6)
    request = bank.request.changed(limits=bank.request.limits.model_copy(update={"min_value_at": ["0.01ms=0.5"]}))
    train = Lookup(bank.outcomes)
    with pytest.raises(InputError, match="no choice of exits keeps to all limits"):
        train_in_rounds(bank.profile, request, candidates_of(bank.profile, request), train=train)
    assert len(train.asked) == 1
