"""Dividing official training samples into `heads` and `choice`, always the same way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

# `choice` gets one in so many.
_PART = 5
_SEED = 0
# A set whose last fifth is less likely than this to hold its classes by chance is not mixed. One in ten thousand of
# the mixed ones is taken for sorted, and divided no worse.
_LEAST_LIKELY = 1e-4
# Bins of equal size that stand for classes where targets are numbers.
_BINS = 10

Numbers = NDArray[np.int64]


def divide_training(labels: NDArray[np.generic], *, regression: bool = False) -> tuple[Numbers, Numbers]:
    """Numbers of the samples of `heads` and of `choice`.

    In a set whose own order is mixed, `choice` is its last fifth: of Fashion-MNIST's 60,000 the last 12,000, of
    CIFAR's 50,000 the last 10,000. It is taken for mixed when it is not sorted and a chi-square test of the classes
    in the last fifth finds nothing (p of 0.0001 or more). In any other set every class gives one of its samples in
    five, by a fixed permutation.

    Args:
        labels: class indices or targets [samples], in the data set's own order.
        regression: whether they are targets.
    """
    count = len(labels)
    last = np.arange(count - count // _PART, count)
    classes = _bins(labels) if regression else labels.astype(np.int64)
    if _is_mixed(classes, last):
        return np.arange(count - len(last)), last
    # RandomState's stream is frozen by NumPy's policy, so the splits are the same everywhere and for ever.
    drawn = np.random.RandomState(_SEED).permutation(count)
    by_class = drawn[np.argsort(classes[drawn], kind="stable")]
    choice = np.sort(by_class[_PART - 1 :: _PART])
    return np.setdiff1d(np.arange(count), choice), choice


def _bins(targets: NDArray[np.generic]) -> Numbers:
    ranks = np.argsort(np.argsort(targets, kind="stable"), kind="stable")
    found: Numbers = ranks * _BINS // max(1, len(targets))
    return found


def _is_mixed(classes: Numbers, last: Numbers) -> bool:
    if np.all(np.diff(classes) >= 0):  # which the test could not tell from chance in a small set
        return False
    _, classes = np.unique(classes, return_inverse=True)
    total = np.bincount(classes)
    held = np.bincount(classes[last], minlength=len(total))
    share = len(last) / max(1, len(classes))
    # Pearson's statistic for a draw without replacement, which varies less by 1 - share.
    statistic = float(np.sum((held - total * share) ** 2 / (total * share * (1 - share)))) if len(last) else 0.0
    return float(chi2.sf(statistic, max(1, len(total) - 1))) >= _LEAST_LIKELY
