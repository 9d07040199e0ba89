"""A chosen.json held against the documents that it was computed from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toy_documents import toy_outcomes, toy_profile

from exitsearch.errors import InputError
from exitsearch.search.proof import repeat_proof
from exitsearch.search.run import search, search_request
from exitsearch.search.utility import Utility
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.published import published_costs, published_outcomes
from exitsearch.specs.question.request import SearchRequest


@pytest.fixture
def outcomes(tmp_path: Path) -> Outcomes:
    return toy_outcomes(tmp_path / "outcomes")


def differing(config: MultiExitConfig, outcomes: Outcomes, **options: Any) -> list[str]:
    findings = repeat_proof(config, toy_profile(), outcomes, **options)
    assert len(findings) > 15
    return [finding.what for finding in findings if not finding.same]


@pytest.mark.parametrize("policy", ["interruptible", "contract", "confidence"])
@pytest.mark.parametrize("limits", [{}, {"max_exits": 1}, {"force": ["1"], "forbid": ["0:a"]}])
def test_what_was_written_is_found_again(
    outcomes: Outcomes, tmp_path: Path, policy: str, limits: dict[str, object]
) -> None:
    result = search(toy_profile(), outcomes, budget="uniform:10%,150%", policy=policy, trials=3, **limits)
    config = MultiExitConfig.read(result.config.write(tmp_path / "chosen.json"))
    assert differing(config, outcomes) == []


@pytest.mark.parametrize("table", ["mevit-cifar10", "mevit-cifar100"])
def test_the_published_tables(table: str) -> None:
    profile, outcomes = published_costs("mevit-gmacs"), published_outcomes(table)
    result = search(profile, outcomes, budget="uniform:10,80", trials=0)
    assert all(finding.same for finding in repeat_proof(result.config, profile, outcomes))


def _changed(config: MultiExitConfig, change: dict[str, Any]) -> MultiExitConfig:
    """A document with some values changed, given by their path."""
    data = config.model_dump(mode="json")
    for path, value in change.items():
        place: Any = data
        *way, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
        for part in way:
            place = place[part]
        place[last] = value
    return MultiExitConfig.parse(data, "chosen.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"exits.0.head": "b", "exits.0.options": {"k": 2}}, "latency_ms of exit 0:b(k=2)"),
        ({"exits.0.head": "c"}, "exits among the candidates"),
        ({"budget": "uniform:0,30"}, "budget"),
        ({"request.budget": "uniform:0,30"}, "expected value"),
        ({"request.limits.max_exits": 1}, "limits that are broken"),
        ({"request.limits.max_exits": 7}, "request"),  # it binds nothing, and is seen all the same
        ({"request.limits.forbid": ["0:a"]}, "exits among the candidates"),
        ({"latency_ms.1": 7.001}, "latency_ms of exit 1:a"),
        ({"expected.value": 0.7}, "expected value"),
        ({"optimum.value": 0.7, "optimum.regret": 0.01}, "optimum"),
        ({"optimum.exact": False}, "whether the optimum is exact"),
        ({"exit_scores.choice.0": 0.61}, "choice score of exit 0:a"),
        ({"fallback": 0.1}, "fallback"),
        ({"profile.identity": "0123456789abcdef"}, "profile"),
        ({"outcomes.identity": "0123456789abcdef"}, "outcomes"),
    ],
)
def test_changes_are_found(outcomes: Outcomes, change: dict[str, Any], words: str) -> None:
    config = search(toy_profile(), outcomes, budget="uniform:0,20", trials=0).config
    assert differing(config, outcomes) == []
    assert words in differing_short(_changed(config, change), outcomes)


def differing_short(config: MultiExitConfig, outcomes: Outcomes) -> list[str]:
    return [finding.what for finding in repeat_proof(config, toy_profile(), outcomes) if not finding.same]


def test_changed_thresholds_are_found(outcomes: Outcomes) -> None:
    config = search(toy_profile(), outcomes, budget="uniform:0,20", policy="confidence", trials=0).config
    assert differing(config, outcomes) == []
    found = differing(_changed(config, {"confidence.points.0.value": 0.123}), outcomes)
    assert found == ["value of operating point 0"]
    assert "upper bound" in differing(_changed(config, {"optimum.value": 0.4, "optimum.regret": 0.0}), outcomes)


def test_a_utility_must_be_named(outcomes: Outcomes) -> None:
    cautious = Utility("cautious", lambda outputs, labels: (outputs.argmax(axis=1) == labels) * 2.0 - 1.0)
    config = search(toy_profile(), outcomes, budget="uniform:0,20", utility=cautious, trials=0).config
    assert differing(config, outcomes, utility=cautious) == []
    with pytest.raises(InputError, match="made for cautious; name that with --worth or --class-weights"):
        repeat_proof(config, toy_profile(), outcomes)


def test_a_file_without_a_request_says_so(outcomes: Outcomes) -> None:
    config = search(toy_profile(), outcomes, budget="uniform:0,20", trials=0).config
    with pytest.raises(InputError, match="before requests were kept"):
        repeat_proof(config.model_copy(update={"request": None}), toy_profile(), outcomes)


def in_part(outcomes: Outcomes, **options: Any) -> MultiExitConfig:
    """A search while b at placement 0 is not trained."""
    some = outcomes.model_copy(update={"heads": [head for head in outcomes.heads if head.head == "a"]})
    request = SearchRequest.asked(budget="uniform:0,10", **options)
    found = search_request(toy_profile(), some, request, trials=0, untrained=[(0, "b(k=2)")]).config
    assert found.optimum.untrained is not None
    return found


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_the_bound_of_untrained_candidates_is_repeated(outcomes: Outcomes, policy: str) -> None:
    """Against the outcomes of then, and against those in which the head has been trained since."""
    config = in_part(outcomes, policy=policy)
    some = outcomes.model_copy(update={"heads": [head for head in outcomes.heads if head.head == "a"]})
    assert differing(config, some) == []
    assert differing(config, outcomes) == []


@pytest.mark.parametrize(
    ("update", "what"),
    [
        ({"value": 0.4}, "upper bound of all candidates"),
        ({"could_add": 0.0}, "what the untrained could add"),
        ({"candidates": 2, "exits": []}, "untrained candidates"),
        ({"assumption": "all is well"}, "assumption"),
    ],
)
def test_a_changed_bound_is_found(outcomes: Outcomes, update: dict[str, Any], what: str) -> None:
    config = in_part(outcomes)
    assert config.optimum.untrained is not None
    untrained = config.optimum.untrained.model_copy(update=update)
    some = outcomes.model_copy(update={"heads": [head for head in outcomes.heads if head.head == "a"]})
    changed = config.model_copy(update={"optimum": config.optimum.model_copy(update={"untrained": untrained})})
    assert what in differing(changed, some)


def test_other_scores_of_the_trained_candidates_are_found(outcomes: Outcomes) -> None:
    """More heads since are no difference, other scores of those that were there are."""
    config = in_part(outcomes)
    heads = [
        head if head.head != "a" else head.model_copy(update={"scores": {**head.scores, "report": 0.0}})
        for head in outcomes.heads
    ]
    assert "outcomes" in differing(config, outcomes.model_copy(update={"heads": heads}))
