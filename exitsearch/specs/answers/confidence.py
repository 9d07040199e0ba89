"""How sure an exit is of every sample, from its outputs before the softmax.

Outputs are divided by a temperature first, one an exit, which makes their probabilities fit how often they are right
(Guo et al., On Calibration of Modern Neural Networks, arXiv 1706.04599).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Samples that a temperature is fitted on: its standard error is then a few hundredths.
MOST_FITTED = 5000
# Range of 1 / temperature. An exit that is always right would go to infinity.
_SHARPEST = 20.0


@dataclass(frozen=True)
class Sureness:
    """How sure outputs are, in three ways.

    Attributes:
        largest: largest probability [samples].
        entropy: of the probabilities, in nats [samples].
        margin: largest minus second largest probability [samples].
    """

    largest: Floats
    entropy: Floats
    margin: Floats


def sureness(outputs: Floats, *, temperature: float = 1.0) -> Sureness:
    """How sure outputs are of every sample.

    Args:
        outputs: before the softmax [samples, classes], at least two classes.
        temperature: above 0.
    """
    shifted, shares, total = _softmax_parts(outputs, temperature)
    # Entropy = log(total) - sum(shares * shifted) / total.
    entropy = np.log(total) - (shares * shifted).sum(axis=1) / total
    shares[np.arange(len(shares)), shares.argmax(axis=1)] = 0
    largest: Floats = 1 / total
    margin: Floats = (1 - shares.max(axis=1)) / total
    return Sureness(largest=largest, entropy=entropy, margin=margin)


def largest_probability(outputs: Floats, *, temperature: float = 1.0) -> Floats:
    """The largest probability alone [samples]; arguments as for `sureness`."""
    _, _, total = _softmax_parts(outputs, temperature)
    largest: Floats = 1 / total
    return largest


def _softmax_parts(outputs: Floats, temperature: float) -> tuple[Floats, Floats, Any]:
    """Outputs less their largest, their exponentials (the largest is 1), and the sum of these [samples]."""
    shifted: Floats = outputs.astype(np.float32) / np.float32(temperature)
    shifted -= shifted.max(axis=1, keepdims=True)
    shares = np.exp(shifted)
    return shifted, shares, shares.sum(axis=1)


def certainty(entropy: Floats, *, classes: int) -> Floats:
    """1 minus the entropy over its largest possible [samples], so that higher is surer.

    Args:
        entropy: in nats [samples].
        classes: at least 2.
    """
    scaled: Floats = np.maximum(1 - entropy / np.float32(np.log(classes)), 0)  # rounding
    return scaled


def fitted_rows(samples: int) -> range:
    """The samples that a temperature is fitted on: all of them, or every n-th of many."""
    return range(0, samples, max(1, -(-samples // MOST_FITTED)))


def fit_temperature(outputs: Floats, labels: Sequence[int] | NDArray[Any]) -> float:
    """The temperature with the least cross entropy, between 1/20 and 20.

    With b = 1 / temperature the cross entropy is convex in b; its slope is the mean of E[z] - z_label, its curvature
    the mean variance of z under the softmax. Newton's steps in log b, none longer than 1.

    >>> outputs = np.array([[4.0, 0.0]] * 10, dtype=np.float32)
    >>> round(fit_temperature(outputs, [0] * 9 + [1]), 3)  # 0.9 = sigmoid(4 / T): T = 4 / ln 9
    1.82

    Args:
        outputs: before the softmax [samples, classes].
        labels: the right classes [samples].
    """
    step = fitted_rows(len(outputs)).step
    z = outputs[::step].astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    mine = z[np.arange(len(z)), np.asarray(labels)[::step]]
    log_b = 0.0
    for _ in range(30):
        shares = np.exp(np.exp(log_b) * z)
        shares /= shares.sum(axis=1, keepdims=True)
        mean = (shares * z).sum(axis=1)
        slope = float((mean - mine).mean())
        curvature = float(((shares * z * z).sum(axis=1) - mean**2).mean())
        # In log b: slope b and curvature b^2 + slope b. Where that is not above 0, a step by the sign is as good.
        bend = curvature * np.exp(log_b) + slope
        move = float(np.clip(-slope / bend, -1, 1)) if bend > 1e-12 else -float(np.sign(slope))
        moved = float(np.clip(log_b + move, -np.log(_SHARPEST), np.log(_SHARPEST)))
        if abs(moved - log_b) < 1e-6:
            break
        log_b = moved
    return float(np.exp(-log_b))
