"""Calibration error and separation, by hand and against the libraries of the field."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from exitsearch.specs.answers.calibration import calibration_error, calibration_of, separation
from exitsearch.specs.answers.kept import KeptOutputs


def test_calibration_error_by_hand() -> None:
    """Ten bins: 0.85, 0.85 and 0.88 in one, a right share of 1/3 and a mean of 0.86; 0.31 alone, right; 1.0, right.

    (3 |1/3 - 0.86| + |1 - 0.31| + |1 - 1|) / 5 = (1.58 + 0.69) / 5 = 0.454.
    """
    confidence = np.array([0.85, 0.31, 0.85, 0.88, 1.0])
    right = np.array([True, True, False, False, True])
    assert calibration_error(confidence, right, bins=10) == pytest.approx(0.454)


def test_an_edge_belongs_to_the_bin_below() -> None:
    """(0, 0.5] and (0.5, 1]: 0.5 and 0.1 together are 0.4 off, 0.51 alone is 0.49 off: (2 * 0.2 + 0.49) / 3."""
    found = calibration_error(np.array([0.5, 0.1, 0.51]), np.array([True, False, True]), bins=2)
    assert found == pytest.approx((2 * (0.5 - 0.3) + 0.49) / 3)


def test_calibration_error_is_that_of_torchmetrics() -> None:
    """Where it is installed: `pip install torchmetrics`."""
    classification = pytest.importorskip("torchmetrics.functional.classification")
    import torch

    for seed in range(5):
        rng = np.random.default_rng(seed)
        outputs = rng.normal(size=(500, 4)).astype(np.float32) * 2
        labels = rng.integers(4, size=500)
        kept = KeptOutputs.of(outputs, temperature=1.0)
        theirs = classification.multiclass_calibration_error(
            torch.from_numpy(outputs).softmax(1), torch.from_numpy(labels), num_classes=4, n_bins=15, norm="l1"
        )
        assert calibration_error(kept.confidence, kept.prediction == labels) == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_separation_is_that_of_scikit_learn(seed: int) -> None:
    """Rounded, so that many are tied."""
    rng = np.random.default_rng(seed)
    confidence = rng.random(200).round(1)
    right = rng.random(200) < confidence
    assert separation(confidence, right) == pytest.approx(roc_auc_score(right, confidence))


def test_separation_needs_right_and_wrong() -> None:
    assert separation(np.array([0.5, 0.6]), np.array([True, True])) is None
    assert separation(np.array([0.5, 0.6]), np.array([False, False])) is None
    assert separation(np.array([0.5, 0.5]), np.array([False, True])) == 0.5


def test_calibration_of_an_exit() -> None:
    """Outputs (log 9, 0): 0.9 at temperature 1, and 0.75 at the temperature log 9 / log 3 = 2."""
    outputs = np.array([[np.log(9), 0.0]] * 4, dtype=np.float32)
    kept = {split: KeptOutputs.of(outputs, temperature=2.0) for split in ("choice", "report")}
    found = calibration_of(kept, {"choice": np.array([0, 0, 0, 1]), "report": np.array([0, 0, 0, 0])})
    assert (found.temperature, found.fitted_on) == (2.0, "choice")
    assert found.ece == pytest.approx({"choice": 0.0, "report": 0.25}, abs=1e-6)
    assert found.raw_ece == pytest.approx({"choice": 0.15, "report": 0.1}, abs=1e-6)
    assert found.auroc == {"choice": 0.5, "report": None}
