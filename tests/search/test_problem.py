from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_problems import problem_of

from exitsearch.errors import InputError, MismatchError
from exitsearch.search.build import build_problem
from exitsearch.search.solver.exact import solve
from exitsearch.specs.backbone import BackboneFacts
from exitsearch.specs.budget import Trace, parse_budget
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.request import SearchRequest
from exitsearch.specs.question.space import SearchSpace

COSTS = """part,placement,head,latency_ms,macs,params
segment,0,,2,,
segment,1,,3,,
head,0,a,0.5,,10
head,0,b(stride=2),1,,20
head,1,a,0.5,,10
head,1,c,2,,30
final,,,5,,
"""
VALUES = """placement,head,value
0,a,0.4
0,b( stride=2 ),0.5
1,a,0.6
1,d,0.7
final,,0.9
"""


def profile() -> Profile:
    return Profile.parse_costs_csv(COSTS, "costs.csv")


def outcomes(text: str = VALUES, **facts: object) -> Outcomes:
    return Outcomes.parse_values_csv(
        text, "values.csv", metric="accuracy", facts=BackboneFacts(name=None, **facts), source=""
    )


def test_candidates_are_what_both_documents_hold() -> None:
    """Placement 1 is reached after 2 + 3 ms and the full model takes 10 ms; 20% to 100% of it are 2 to 10 ms."""
    problem, warnings = build_problem(profile(), outcomes(), SearchRequest.asked(budget="uniform:20%,100%"))
    found = [(c.placement, c.head, c.arrival_ms, c.head_ms, c.value, c.params) for c in problem.candidates]
    assert found == [
        (0, "a", 2.0, 0.5, 0.4, 10),
        (0, "b(stride=2)", 2.0, 1.0, 0.5, 20),
        (1, "a", 5.0, 0.5, 0.6, 10),
    ]
    assert (problem.final_ms, problem.final_value, problem.fallback) == (10.0, 0.9, 0.0)
    assert str(problem.budget) == "uniform:2,10"
    (warning,) = warnings
    assert "1 of 4 values have no cost in the profile (d at placement 1)" in warning
    assert "1 of 4 heads of the profile have no value (c at placement 1): left out" in warning


def space_of(**placements: str) -> SearchSpace:
    """A space of heads and where they may stand; `b` stands for `b(stride=2)`."""
    heads = [
        {"type": head, "placements": text, "options": {"stride": 2} if head == "b" else {}}
        for head, text in placements.items()
    ]
    return SearchSpace.model_validate({"schema_version": 1, "heads": heads})


def test_heads_placements_and_candidates_narrow_the_choice() -> None:
    def pairs(**options: object) -> list[tuple[int, str]]:
        problem, _ = build_problem(profile(), outcomes(), SearchRequest.asked(budget="point:5", **options))
        return [(c.placement, c.head) for c in problem.candidates]

    assert pairs(heads=["a"]) == [(0, "a"), (1, "a")]
    assert pairs(heads=["b(stride=2)"]) == [(0, "b(stride=2)")]
    assert pairs(placements="1") == [(1, "a")]
    assert pairs(placements=[0]) == [(0, "a"), (0, "b(stride=2)")]
    assert pairs(space=space_of(a="1", b="0,1")) == [(0, "b(stride=2)"), (1, "a")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": ["c"]}, "the outcomes hold no head 'c'"),
        ({"heads": ["d"]}, "the profile holds no head 'd'"),
        ({"heads": ["b(stride=2)"], "placements": "1"}, "no exit head is left"),
        ({"placements": "0-2"}, "placements run from 0 to 1"),
        ({"placements": [7]}, "placements run from 0 to 1"),
        ({"fallback": 2.0}, "--fallback"),
    ],
)
def test_what_cannot_be_searched_is_said(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_problem(profile(), outcomes(), SearchRequest.asked(**{"budget": "point:5", **options}))


def test_a_split_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="unknown split 'report'"):
        build_problem(profile(), outcomes(), SearchRequest.asked(budget="point:5"), split="report")


def test_a_profile_without_times_is_refused() -> None:
    counted = COSTS.replace("latency_ms", "x")
    data = Profile.parse_costs_csv(COSTS, "costs.csv").model_dump(mode="json")
    for cost in (*data["segments"], *data["heads"], data["final"]):
        cost["latency_ms"] = None
    with pytest.raises(InputError, match="only counts operations"):
        build_problem(Profile.parse(data, counted), outcomes(), SearchRequest.asked(budget="point:5"))


def test_heads_of_a_space_that_a_document_lacks_are_warned_of() -> None:
    request = SearchRequest.asked(budget="point:5", space=space_of(a="0,1", c="1", d="1"))
    problem, warnings = build_problem(profile(), outcomes(), request)
    assert problem.heads == ("a",)
    assert [("'c'" in text and "outcomes" in text) or ("'d'" in text and "profile" in text) for text in warnings] == [
        True
    ] * 2


def test_documents_that_share_nothing_name_a_missing_pair() -> None:
    with pytest.raises(InputError, match=r"share 0 .* lacks for example x at placement 0"):
        build_problem(
            profile(), outcomes("placement,head,value\n0,x,0.5\nfinal,,0.9\n"), SearchRequest.asked(budget="point:5")
        )


def test_documents_of_two_backbones_are_refused_and_other_outputs_only_warned_of() -> None:
    def of(**facts: object) -> Profile:
        return profile().model_copy(update={"backbone": BackboneFacts(**{"name": None, **facts})})

    with pytest.raises(MismatchError, match="input_size"):
        build_problem(of(input_size=(3, 8, 8)), outcomes(input_size=(1, 8, 8)), SearchRequest.asked(budget="point:5"))
    _, warnings = build_problem(of(num_outputs=10), outcomes(num_outputs=100), SearchRequest.asked(budget="point:5"))
    assert "10 outputs" in warnings[0]


def test_survival_of_many_times_is_the_mean_over_slow_downs() -> None:
    """Budgets uniform from 0 to 10, slow-downs 1 and 2: at 4 ms (0.6 + 0.2) / 2, at 6 ms (0.4 + 0) / 2."""
    problem = problem_of([], final=(5.0, 1.0), budget="uniform:0,10", slowdown=(1.0, 2.0))
    assert problem.survival([[4.0], [6.0]]) == pytest.approx(np.array([[0.4], [0.2]]))
    assert problem.survival(4.0, noise=False) == pytest.approx(0.6)


def test_every_slow_down_sample_counts() -> None:
    """2,940 of 1, 30 of 1.6 and 30 of 5: 2 ms may take 3.2 or 10, so 98% are within 3 ms and 99% within 4."""
    measured = profile().model_copy(update={"slowdown": [1.0] * 2940 + [1.6] * 30 + [5.0] * 30})
    problem, _ = build_problem(measured, outcomes(), SearchRequest.asked(budget="point:3"))
    assert len(problem.slowdown) == 3000
    assert problem.survival([2.0, 0.6, 0.5]) == pytest.approx([0.98, 1.0, 1.0], abs=1e-15)
    assert replace(problem, budget=parse_budget("point:4")).survival(2.0) == pytest.approx(0.99, abs=1e-15)


def test_an_estimate_of_survival_is_never_below_it() -> None:
    samples = np.random.default_rng(0).lognormal(0, 0.1, 3000)
    budgets = Trace("made", tuple(np.random.default_rng(1).exponential(30, 1000)))
    problem = replace(problem_of([], final=(5.0, 1.0), budget="point:1"), budget=budgets, slowdown=tuple(samples))
    times = np.linspace(0, 300, 3001)
    above = problem.survival_above(times) - problem.survival(times)
    assert above.min() >= -1e-14
    assert above.max() < 0.005


def test_a_choice_keeps_to_order_placements_and_limit() -> None:
    problem = problem_of(
        [(0, 1.0, 1.0, 0.1), (0, 1.0, 1.0, 0.2), (1, 2.0, 1.0, 0.3)], final=(5.0, 1.0), budget="point:3", max_exits=1
    )
    assert problem.allows((0,))
    assert problem.allows(())
    assert not problem.allows((0, 2))
    assert not replace(problem, max_exits=None).allows((0, 1))
    assert not replace(problem, max_exits=None).allows((2, 0))
    assert problem.params((1, 2)) == 300


def test_several_least_values_at_one_budget_all_hold() -> None:
    """Whichever comes last: within 2 ms the answer must be worth 0.3 and 0.9, and at best it is worth 0.5."""
    problem = problem_of([(0, 1.0, 1.0, 0.5)], final=(5.0, 1.0), budget="point:3")
    for least in (((2.0, 0.9), (2.0, 0.3)), ((2.0, 0.3), (2.0, 0.9)), ((2.0, 0.9), (2.0000001, 0.3))):
        limited = replace(problem, min_values=least)
        assert not limited.allows((0,))
        assert limited.excess((0,))["value at 2 ms"] == pytest.approx(0.4)
        for policy in ("interruptible", "contract"):
            with pytest.raises(InputError, match="no choice of exits keeps to all limits"):
                solve(replace(limited, policy=policy))
