"""From a choice to the result: regret, what Optuna alone would have lost, and the notes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from toy_documents import toy_outcomes, toy_profile

from exitsearch.search.conclude import Found, Question, conclude, study_notes
from exitsearch.search.evaluate import evaluate_values
from exitsearch.search.run import search
from exitsearch.search.study import StudyResult
from exitsearch.search.valuation import Valuation
from exitsearch.specs.outcomes import Outcomes

STUDY = StudyResult(
    name="s", choice=(), value=0.66, value_without_first=0.66, trials=5, drawn=5, seconds=1.0, interrupted=False
)


@pytest.fixture
def outcomes(tmp_path: Path) -> Outcomes:
    return toy_outcomes(tmp_path / "outcomes")


def test_regret_by_hand(outcomes: Outcomes) -> None:
    """As in `test_run.py`: a at both placements is worth 0.69, at the first alone 0.675; Optuna's own best is 0.66."""
    best = search(toy_profile(), outcomes, budget="uniform:0,20", trials=0)
    assert best.config.request is not None
    valued = Valuation(outcomes)
    question = Question(toy_profile(), valued, best.problem, best.config.request, ("of the question",), None)
    alone = (best.problem.positions[0, "a"],)
    judged = evaluate_values(best.problem, alone, valued, seed=0)
    found = Found(alone, best.solution, STUDY, judged, ("of the search",))
    result = conclude(question, found)
    assert result.value == pytest.approx(0.675)
    assert result.regret == result.config.optimum.regret == pytest.approx(0.015)
    assert result.optuna_regret == pytest.approx(0.03)
    assert [(row.placement, row.head) for row in result.rows] == [(0, "a"), (None, None)]
    assert result.notes == ["of the question", "of the search"]
    # What is not proved may be better by the bound, and says nothing of Optuna.
    solution = dataclasses.replace(best.solution, exact=False, bound=0.7)
    result = conclude(question, dataclasses.replace(found, solution=solution))
    assert result.regret == pytest.approx(0.025)
    assert result.optuna_regret is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"interrupted": True}, "interrupted after 5 of 9 trials"),
        ({"drawn": 0}, "no new trial was drawn, whatever the seed: the study s holds 5 trials"),
    ],
)
def test_a_study_that_is_less_than_was_asked_for(change: dict[str, int], words: str | None) -> None:
    notes = study_notes(dataclasses.replace(STUDY, **change), trials=9)
    assert [note for note in notes if words is None or words not in note] == []
    assert len(notes) == (words is not None)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("uniform:9,20", ["every budget (9 to 20 ms) lies above the full model's latency of 8 ms", "between 3 ms"]),
        ("point:2", ["every budget (2 ms) lies below the first possible answer at 3 ms", "of 8 ms"]),
    ],
)
def test_budgets_for_which_nothing_matters_are_said(outcomes: Outcomes, budget: str, words: list[str]) -> None:
    (note,) = search(toy_profile(), outcomes, budget=budget, trials=0).notes
    assert all(word in note for word in words)


def test_a_doubtful_profile_is_said(outcomes: Outcomes) -> None:
    profile = toy_profile(
        status="noisy", reasons=({"what": "spread", "number": 0.3, "remedy": "close other programs"},)
    )
    (note,) = search(profile, outcomes, budget="uniform:0,20", trials=0).notes
    assert "noisy" in note
    assert "close other programs" in note
