"""How sure outputs are, by hand, and temperatures that make probabilities true."""

from __future__ import annotations

import numpy as np
import pytest

from exitsearch.specs.answers.confidence import (
    MOST_FITTED,
    certainty,
    fit_temperature,
    fitted_rows,
    largest_probability,
    sureness,
)


def test_sureness_by_hand() -> None:
    """Outputs log 6, log 3, log 1 have probabilities 0.6, 0.3, 0.1; at temperature 1/2 they go as 36 : 9 : 1."""
    outputs = np.log(np.array([[6.0, 3.0, 1.0]], dtype=np.float32))
    sure = sureness(outputs)
    assert sure.largest == pytest.approx(0.6)
    assert sure.margin == pytest.approx(0.3)
    assert sure.entropy == pytest.approx(-sum(p * np.log(p) for p in (0.6, 0.3, 0.1)))
    assert {array.dtype for array in vars(sure).values()} == {np.dtype(np.float32)}
    sharper = sureness(outputs, temperature=0.5)
    assert sharper.largest == pytest.approx(36 / 46)
    assert sharper.margin == pytest.approx(27 / 46)
    assert largest_probability(outputs, temperature=0.5) == sharper.largest


def test_two_classes_that_are_equally_likely_have_no_margin() -> None:
    sure = sureness(np.array([[2.0, 2.0, -3.0]], dtype=np.float32))
    assert sure.margin.tolist() == [0.0]
    assert sure.largest[0] < 0.5


def test_outputs_far_apart_are_finite() -> None:
    sure = sureness(np.array([[1e4, -1e4]], dtype=np.float32))
    assert [array.item() for array in (sure.largest, sure.entropy, sure.margin)] == [1.0, 0.0, 1.0]


def test_certainty_is_1_less_the_share_of_the_largest_entropy() -> None:
    assert certainty(np.array([0.0, np.log(4), np.log(4) / 4], np.float32), classes=4) == pytest.approx([1, 0, 0.75])
    # Rounding may put an entropy above its largest.
    assert certainty(np.array([1.3863], np.float32), classes=4).tolist() == [0.0]


def test_temperatures_make_probabilities_true() -> None:
    """Labels drawn from the softmax of half the outputs: temperature 2. Never right or always right: at an end."""
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(20000, 5)).astype(np.float32) * 3
    shares = np.exp(outputs / 2)
    shares /= shares.sum(axis=1, keepdims=True)
    labels = (rng.random((len(outputs), 1)) > np.cumsum(shares, axis=1)).sum(axis=1)
    assert fit_temperature(outputs, labels) == pytest.approx(2.0, rel=0.1)
    assert fit_temperature(outputs, outputs.argmax(axis=1)) == pytest.approx(1 / 20)
    assert fit_temperature(outputs, outputs.argmin(axis=1)) == pytest.approx(20)


@pytest.mark.parametrize(
    ("samples", "step", "count"), [(1, 1, 1), (MOST_FITTED, 1, 5000), (5001, 2, 2501), (25000, 5, 5000)]
)
def test_few_samples_are_fitted_on(samples: int, step: int, count: int) -> None:
    rows = fitted_rows(samples)
    assert (rows.step, len(rows)) == (step, count)


def test_the_fitted_samples_alone_give_the_same_temperature() -> None:
    """What a scoring keeps for the fit is what the fit looks at."""
    rng = np.random.default_rng(1)
    outputs = rng.normal(size=(12345, 3)).astype(np.float32)
    labels = rng.integers(3, size=12345)
    rows = list(fitted_rows(len(outputs)))
    assert fit_temperature(outputs[rows], labels[rows]) == fit_temperature(outputs, labels)
