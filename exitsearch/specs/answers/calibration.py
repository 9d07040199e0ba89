"""Calibration: how well an exit's confidence fits how often it is right, and how well it tells right from wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.stats import rankdata

from exitsearch.specs.answers.kept import KeptOutputs
from exitsearch.specs.document import Part

Array = NDArray[np.float64]

# The split that temperatures are fitted on: the one that a search chooses on. The report split takes no part.
FITTED_ON = "choice"

# As Guo et al. have it, and torchmetrics by default.
_BINS = 15


class Calibration(Part):
    """How far the confidence of one exit can be believed.

    Attributes:
        temperature: by which outputs are divided before the softmax.
        fitted_on: the split that it was fitted on.
        ece: expected calibration error at the temperature, 0 to 1, per split.
        raw_ece: the same at temperature 1.
        auroc: how likely a right answer is surer than a wrong one, 0.5 to 1 where confidence tells anything, at the
            temperature, per split; None where all answers are right or all are wrong.
    """

    temperature: float = Field(gt=0)
    fitted_on: str = FITTED_ON
    ece: dict[str, float]
    raw_ece: dict[str, float]
    auroc: dict[str, float | None]


def calibration_of(kept: Mapping[str, KeptOutputs], labels: Mapping[str, NDArray[Any]]) -> Calibration:
    """The calibration of one exit.

    Args:
        kept: its answers on every split.
        labels: the right classes [samples] of every split.
    """
    right = {split: answers.prediction == labels[split] for split, answers in kept.items()}
    return Calibration(
        temperature=next(iter(kept.values())).temperature,
        ece={split: calibration_error(answers.confidence, right[split]) for split, answers in kept.items()},
        raw_ece={split: calibration_error(answers.raw_confidence, right[split]) for split, answers in kept.items()},
        auroc={split: separation(answers.confidence, right[split]) for split, answers in kept.items()},
    )


def calibration_error(confidence: NDArray[Any], right: NDArray[np.bool_], *, bins: int = _BINS) -> float:
    """Expected calibration error: mean distance of accuracy from confidence, over bins of equal width.

    Bin m holds confidences in ((m - 1) / bins, m / bins], and counts by its share of the samples (Naeini et al.,
    Obtaining Well Calibrated Probabilities Using Bayesian Binning, 2015; Guo et al., arXiv 1706.04599, equation 3).

    >>> calibration_error(np.array([0.9, 0.9, 0.6, 0.6]), np.array([True, False, True, True]))  # (0.4 + 0.4) / 2
    0.4

    Args:
        confidence: largest probability [samples], above 0, at most 1.
        right: whether the answer is right [samples].
    """
    exact = confidence.astype(np.float64)
    found = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], exact)
    gaps = np.bincount(found, weights=right - exact, minlength=bins)
    return float(np.abs(gaps).sum() / len(exact))


def separation(confidence: NDArray[Any], right: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve of confidence as a test for being right: ties count half (Mann and Whitney, 1947).

    >>> separation(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, True]))  # 2 of 3 pairs in order
    0.6666666666666666

    Args:
        confidence: higher is surer [samples].
        right: whether the answer is right [samples].
    """
    count = int(np.count_nonzero(right))
    pairs = count * (len(right) - count)
    if not pairs:
        return None
    ranks: Array = rankdata(confidence)
    return float((ranks[right].sum() - count * (count + 1) / 2) / pairs)
