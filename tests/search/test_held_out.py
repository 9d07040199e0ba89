from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from toy_documents import toy_outcomes, toy_profile

from exitsearch.errors import MismatchError
from exitsearch.search.build import build_problem
from exitsearch.search.held_out import bootstrap_interval, mean_interval, sample_values, split_value
from exitsearch.search.value import expected_value
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.question.request import SearchRequest


@pytest.fixture
def outcomes(tmp_path: Path) -> Outcomes:
    return toy_outcomes(tmp_path / "outcomes")


def test_the_choice_split_decides_and_the_report_split_scores(outcomes: Outcomes) -> None:
    """b at placement 0 and a at placement 1 answer at 4 and 8 ms, the final exit at 11; G(t) = 1 - t / 20.

    Chances 0.8 - 0.6, 0.6 - 0.45, 0.45. Chosen on 0.7, 0.8, 0.9: 0.14 + 0.12 + 0.405 = 0.665. On the report split b is
    worth 0.7 and a only 0.6, and a's answer still replaces b's: 0.2 * 0.7 + 0.15 * 0.6 + 0.45 * 0.8 = 0.59.
    """
    problem, _ = build_problem(toy_profile(), outcomes, SearchRequest.asked(budget="uniform:0,20"))
    choice = (problem.positions[0, "b(k=2)"], problem.positions[1, "a"])
    assert expected_value(problem, choice) == pytest.approx(0.665)
    assert split_value(problem, choice, outcomes, "choice") == pytest.approx(0.665)
    assert split_value(problem, choice, outcomes, "report") == pytest.approx(0.59)


def test_samples_average_to_the_scores(outcomes: Outcomes) -> None:
    problem, _ = build_problem(toy_profile(), outcomes, SearchRequest.asked(budget="uniform:0,20"))
    values = sample_values(problem, (0, 2), outcomes, "report")
    assert values is not None
    assert values.shape == (10, 3)
    assert values.mean(axis=0) == pytest.approx([0.5, 0.6, 0.8])


def test_the_interval_is_that_of_the_mean_of_samples(outcomes: Outcomes) -> None:
    """The backbone alone, always in time: 8 of 10 right."""
    problem, _ = build_problem(toy_profile(), outcomes, SearchRequest.asked(budget="point:50"))
    interval = bootstrap_interval(problem, (), outcomes, "report", seed=3, resamples=20000)
    assert interval == mean_interval(np.array([1.0] * 8 + [0.0] * 2), seed=3, resamples=20000)
    assert interval == bootstrap_interval(problem, (), outcomes, "report", seed=3, resamples=20000)


def test_an_interval_by_hand() -> None:
    """20 of 25 right, so resampled counts X are binomial(25, 0.8).

    P(X < 20) + P(X = 20) / 2 = 0.383 + 0.098 = 0.481, so the bias is -0.047; sum d^3 = 20 * 0.2^3 - 5 * 0.8^3 = -2.4
    and sum d^2 = 4, so a = -2.4 / (6 * 8) = -0.05. Lower level: -0.047 - 2.007 / (1 - 0.05 * 2.007) = -2.278, whose
    chance is 0.0114; P(X <= 14) = 0.006, P(X <= 15) = 0.017: 15. Upper: -0.047 + 1.913 / (1 + 0.05 * 1.913) = 1.699,
    0.955; P(X <= 22) = 0.902, P(X <= 23) = 0.973: 23. Plain quantiles would give 16 and 24.
    """
    each = np.array([1.0] * 20 + [0.0] * 5)
    assert mean_interval(each, resamples=100_000) == pytest.approx((15 / 25, 23 / 25))
    # Turned over, the interval turns over: errors and accuracies are treated alike.
    assert mean_interval(-each, resamples=100_000) == pytest.approx((-23 / 25, -15 / 25))


def test_an_interval_of_equal_samples_is_their_value() -> None:
    assert mean_interval(np.full(7, 0.3)) == pytest.approx((0.3, 0.3))
    assert mean_interval(np.array([0.3])) == (0.3, 0.3)


def test_the_interval_of_skewed_values_covers_as_stated() -> None:
    """95 of 100 values are 1. Of 400 intervals of 400 draws 380 should hold 0.95 and 10 lie above it; a plain interval
    of quantiles lies above it twice as often as below."""
    rng = np.random.default_rng(0)
    population = np.array([1.0] * 95 + [0.0] * 5)
    ends = np.array([mean_interval(rng.choice(population, 400), seed=seed, resamples=500) for seed in range(400)])
    above, below = int((ends[:, 0] > 0.95 + 1e-9).sum()), int((ends[:, 1] < 0.95 - 1e-9).sum())
    # 99.9% of binomial(400, 0.05) and of binomial(400, 0.025).
    assert 7 <= above + below <= 36
    assert 1 <= above <= 22
    assert 1 <= below <= 22


def test_the_fallback_counts_where_nothing_is_in_time(outcomes: Outcomes) -> None:
    problem, _ = build_problem(toy_profile(), outcomes, SearchRequest.asked(budget="point:1", fallback=0.1))
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
    problem, _ = build_problem(toy_profile(), error, SearchRequest.asked(budget="point:50"))
    values = sample_values(problem, (), error, "report")
    assert values is not None
    assert values[:, 0].tolist() == [-0.5, -1.0, 0.0]


def test_samples_that_do_not_fit_together_are_refused(outcomes: Outcomes, tmp_path: Path) -> None:
    path = tmp_path / "outcomes" / "report.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "labels": tensors["labels"][:5]}, path)
    problem, _ = build_problem(toy_profile(), outcomes, SearchRequest.asked(budget="point:50"))
    with pytest.raises(MismatchError, match="5 labels"):
        bootstrap_interval(problem, (0,), outcomes, "report")
