"""Names of studies never change with the code: journals of before go on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exitsearch.search.problem import Candidate, Problem
from exitsearch.search.study.exits import study_name
from exitsearch.specs.budget import Trace, parse_budget

TAKES = {"params": 100, "memory_bytes": 400, "arrival_mj": 1.5, "head_mj": 0.25}
PROBLEM = Problem(
    candidates=(
        Candidate(placement=0, head="a", arrival_ms=2.0, head_ms=1.0, value=0.6, takes=TAKES),
        Candidate(placement=0, head="b(k=2)", arrival_ms=2.0, head_ms=0.1, value=0.55),
        Candidate(placement=3, head="a", arrival_ms=5.125, head_ms=1 / 3, value=0.8),
    ),
    final_ms=8.0,
    final_value=0.9,
    fallback=0.0,
    budget=parse_budget("uniform:2,20"),
)
# What repr printed of the problem in the version whose names are these.
WRITTEN = (
    "Problem(candidates=(Candidate(placement=0, head='a', arrival_ms=2.0, head_ms=1.0, value=0.6, params=100, "
    "memory_bytes=400, arrival_mj=1.5, head_mj=0.25), Candidate(placement=0, head='b(k=2)', arrival_ms=2.0, "
    "head_ms=0.1, value=0.55, params=0, memory_bytes=0, arrival_mj=0.0, head_mj=0.0), Candidate(placement=3, "
    "head='a', arrival_ms=5.125, head_ms=0.3333333333333333, value=0.8, params=0, memory_bytes=0, arrival_mj=0.0, "
    "head_mj=0.0)), final_ms=8.0, final_value=0.9, fallback=0.0, budget=Uniform(low=Amount(number=2.0, share=False), "
    "high=Amount(number=20.0, share=False)), slowdown=(0.9, 1.0), policy='interruptible', max_exits=None, "
    "max_params=None, max_memory_bytes=None, final_mj=0.0, max_energy_mj=None, quantile=None, max_heads_ms=None, "
    "floors=(), required=())"
)


@pytest.mark.parametrize(
    ("budget", "name"),
    [
        ("uniform:2,20", "exitsearch-0b88deb947bc"),
        ("normal:6,3", "exitsearch-f0e15933b408"),
        ("lognormal:5,0.6", "exitsearch-814399296794"),
        ("exponential:5", "exitsearch-900f0cb70b64"),
        ("point:7", "exitsearch-fcccbc4d035f"),
        ("discrete:3@0.2,6@0.5,9@0.3", "exitsearch-f5fc2348de79"),
        ("mix:0.6*uniform:2,8+0.4*point:9", "exitsearch-db64a15c172b"),
        ("point:0.1", "exitsearch-e4a451d62b4c"),
    ],
)
def test_names_of_every_family_of_budgets(budget: str, name: str) -> None:
    assert study_name(replace(PROBLEM, budget=parse_budget(budget))) == name


def test_names_of_other_problems() -> None:
    assert study_name(replace(PROBLEM, slowdown=(0.9, 1.0, 1.2))) == "exitsearch-2ce5bba32d21"
    assert study_name(replace(PROBLEM, policy="contract")) == "exitsearch-d3771411c7cf"
    sure = replace(PROBLEM, policy="confidence", quantile=0.95)
    assert study_name(sure, key="abc") == "exitsearch-cbbbe53b68eb"
    limited = replace(
        PROBLEM,
        max_exits=2,
        limits={"params": 200, "memory": 500, "energy": 9.5},
        backbone={"energy": 3.25},
        min_values=((4.0, 0.5),),
        forced=(0,),
    )
    assert study_name(limited) == "exitsearch-ed78b9e9fc4b"


def test_the_text_of_a_problem() -> None:
    assert replace(PROBLEM, slowdown=(0.9, 1.0)).key() == WRITTEN
    alone = replace(PROBLEM, candidates=PROBLEM.candidates[2:], slowdown=(0.9,), budget=Trace("b.csv", (2.0, 4.5)))
    assert alone.key().startswith("Problem(candidates=(Candidate(placement=3, head='a', arrival_ms=5.125, ")
    assert "head_mj=0.0),), final_ms=8.0" in alone.key()
    assert "budget=Trace(source='b.csv', recorded_ms=(2.0, 4.5), factor=1.0), slowdown=(0.9,)" in alone.key()


def test_what_came_later_is_named_only_where_there_is_some() -> None:
    first, *others = PROBLEM.candidates
    for held in (0, 7):
        holding = replace(PROBLEM, candidates=(replace(first, takes={**TAKES, "held_bytes": held}), *others))
        assert (holding.key() == PROBLEM.key()) == (held == 0)
    assert "head_mj=0.25, held_bytes=7)" in holding.key()


def test_every_field_counts() -> None:
    first, *others = PROBLEM.candidates
    changed = [
        replace(PROBLEM, candidates=(replace(first, **change), *others))
        for change in (
            {"head": "A"},
            {"arrival_ms": 2.5},
            {"head_ms": 1.5},
            {"value": 0.7},
            *({"takes": {**TAKES, name: 5}} for name in (*TAKES, "held_bytes")),
        )
    ]
    changed += [
        replace(PROBLEM, **change)
        for change in (
            {"final_ms": 9.0},
            {"final_value": 0.8},
            {"fallback": 0.1},
            {"quantile": 0.9},
            {"max_exits": 3},
            {"backbone": {"energy": 1.0}},
            {"min_values": ((1.0, 0.1),)},
            {"forced": (3,)},
            *({"limits": {name: 5}} for name in ("params", "memory", "energy", "time")),
        )
    ]
    keys = {problem.key() for problem in changed}
    assert len({*keys, PROBLEM.key()}) == len(changed) + 1
