from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_documents import RIGHT, toy_outcomes, toy_profile

from exitsearch.errors import InputError
from exitsearch.search.build import build_problem
from exitsearch.search.thresholds.scores import Answers, build_answers, confidence
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.published import published_costs, published_outcomes
from exitsearch.specs.question.request import SearchRequest


def test_scores_by_hand() -> None:
    """Outputs log 6, log 3, log 1 have probabilities 0.6, 0.3, 0.1; at temperature 1/2 they go as 36 : 9 : 1."""
    outputs = np.log(np.array([[6.0, 3.0, 1.0]], dtype=np.float32))
    assert confidence(outputs, score="softmax") == pytest.approx(0.6)
    assert confidence(outputs, score="margin") == pytest.approx(0.3)
    entropy = -sum(p * np.log(p) for p in (0.6, 0.3, 0.1))
    assert confidence(outputs, score="entropy") == pytest.approx(1 - entropy / np.log(3))
    assert confidence(outputs, score="softmax", temperature=0.5) == pytest.approx(36 / 46)
    assert confidence(np.zeros((1, 4), dtype=np.float32), score="entropy") == pytest.approx(0, abs=1e-6)
    assert np.isfinite(confidence(np.array([[1e4, -1e4]], dtype=np.float32), score="entropy")).all()


def test_patience_counts_answers_in_agreement() -> None:
    predicted = np.array([[0, 0, 1], [0, 1, 1], [0, 1, 0], [9, 9, 9]], dtype=np.int32)
    answers = Answers("patience", np.zeros((4, 3), np.float32), predicted == 0, predicted, np.ones(4))
    assert answers.chosen_scores((0, 1, 2)).tolist() == [[0, 0, 0], [1, 0, 1], [2, 1, 0]]
    assert answers.chosen_scores((0, 2)).tolist() == [[0, 0, 0], [1, 0, 0]]


@pytest.fixture
def outcomes(tmp_path: Path) -> Outcomes:
    return toy_outcomes(tmp_path / "outcomes")


def test_answers_of_documents(outcomes: Outcomes) -> None:
    problem, _ = build_problem(toy_profile(), outcomes, SearchRequest.asked(budget="uniform:0,20", policy="confidence"))
    answers = build_answers(problem, outcomes, "choice")
    assert answers.right[:-1].sum(axis=1).tolist() == [RIGHT[c.placement, c.head][0] for c in problem.candidates]
    assert answers.right[-1].sum() == 9
    report = build_answers(problem, outcomes, "report", like=answers, only=(2,))
    assert report.right.sum(axis=1).tolist() == [0, 0, RIGHT[1, "a"][1], 8]
    assert report.temperatures[2] == answers.temperatures[2]
    assert answers.identity != build_answers(problem, outcomes, "report").identity
    assert answers.every(3).samples == 4


def test_what_cannot_be_replayed_is_said(outcomes: Outcomes) -> None:
    problem, _ = build_problem(toy_profile(), outcomes, SearchRequest.asked(budget="uniform:0,20", policy="confidence"))
    with pytest.raises(InputError, match="unknown confidence 'entrpy'"):
        build_answers(problem, outcomes, "choice", score="entrpy")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="classes, the outcomes hold mae"):
        build_answers(problem, outcomes.model_copy(update={"metric": "mae"}), "choice")
    given = published_outcomes("mevit-cifar10")
    problem, _ = build_problem(
        published_costs("mevit-gmacs"), given, SearchRequest.asked(budget="uniform:10,80", policy="confidence")
    )
    with pytest.raises(InputError, match="hold only scores; train the heads"):
        build_answers(problem, given, "given")
