from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from toy_documents import toy_outcomes, toy_profile

from exitsearch.errors import MismatchError
from exitsearch.search.held_out import bootstrap_interval, sample_values, split_value
from exitsearch.search.problem import build_problem
from exitsearch.search.value import expected_value
from exitsearch.specs.outcomes import Outcomes


@pytest.fixture
def outcomes(tmp_path: Path) -> Outcomes:
    return toy_outcomes(tmp_path / "outcomes")


def test_the_choice_split_decides_and_the_report_split_scores(outcomes: Outcomes) -> None:
    """b at placement 0 and a at placement 1 answer at 4 and 8 ms, the final exit at 11; G(t) = 1 - t / 20.

    Chances 0.8 - 0.6, 0.6 - 0.45, 0.45. Chosen on 0.7, 0.8, 0.9: 0.14 + 0.12 + 0.405 = 0.665. On the report split b is
    worth 0.7 and a only 0.6, and a's answer still replaces b's: 0.2 * 0.7 + 0.15 * 0.6 + 0.45 * 0.8 = 0.59.
    """
    problem, _ = build_problem(toy_profile(), outcomes, budget="uniform:0,20")
    choice = (problem.positions[0, "b(k=2)"], problem.positions[1, "a"])
    assert expected_value(problem, choice) == pytest.approx(0.665)
    assert split_value(problem, choice, outcomes, "choice") == pytest.approx(0.665)
    assert split_value(problem, choice, outcomes, "report") == pytest.approx(0.59)


def test_samples_average_to_the_scores(outcomes: Outcomes) -> None:
    problem, _ = build_problem(toy_profile(), outcomes, budget="uniform:0,20")
    values = sample_values(problem, (0, 2), outcomes, "report")
    assert values is not None
    assert values.shape == (10, 3)
    assert values.mean(axis=0) == pytest.approx([0.5, 0.6, 0.8])


def test_the_interval_is_that_of_the_mean_of_samples(outcomes: Outcomes) -> None:
    """The backbone alone, always in time: 8 of 10 right, so resampled counts are binomial(10, 0.8).

    Their 2.5% and 97.5% quantiles are 5 (P(X <= 5) = 0.033, P(X <= 4) = 0.006) and 10.
    """
    problem, _ = build_problem(toy_profile(), outcomes, budget="point:50")
    interval = bootstrap_interval(problem, (), outcomes, "report", seed=3, resamples=20000)
    assert interval == pytest.approx((0.5, 1.0))
    assert interval == bootstrap_interval(problem, (), outcomes, "report", seed=3, resamples=20000)


def test_the_fallback_counts_where_nothing_is_in_time(outcomes: Outcomes) -> None:
    problem, _ = build_problem(toy_profile(), outcomes, budget="point:1", fallback=0.1)
    assert split_value(problem, (0,), outcomes, "report") == pytest.approx(0.1)
    assert bootstrap_interval(problem, (0,), outcomes, "report") == pytest.approx((0.1, 0.1))


def test_errors_count_as_minus_their_size(tmp_path: Path) -> None:
    """Outputs 1, 2, 3 for targets 1.5, 1, 3: errors 0.5, 1, 0."""
    outcomes = toy_outcomes(tmp_path)
    for split in ("choice", "report"):
        tensors = {
            key: np.array([[1.0], [2.0], [3.0]], dtype=np.float32)
            for key in load_file(tmp_path / f"{split}.safetensors")
        }
        save_file({**tensors, "labels": np.array([1.5, 1.0, 3.0])}, tmp_path / f"{split}.safetensors")
    error = outcomes.model_copy(update={"metric": "mae", "fallback": 2.0})
    problem, _ = build_problem(toy_profile(), error, budget="point:50")
    values = sample_values(problem, (), error, "report")
    assert values is not None
    assert values[:, 0].tolist() == [-0.5, -1.0, 0.0]


def test_samples_that_do_not_fit_together_are_refused(outcomes: Outcomes, tmp_path: Path) -> None:
    path = tmp_path / "outcomes" / "report.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "labels": tensors["labels"][:5]}, path)
    problem, _ = build_problem(toy_profile(), outcomes, budget="point:50")
    with pytest.raises(MismatchError, match="5 labels"):
        bootstrap_interval(problem, (0,), outcomes, "report")
