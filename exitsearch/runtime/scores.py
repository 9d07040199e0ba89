"""How sure outputs are of every input, by the formulas of exitsearch/specs/answers/confidence.py, in float32.

They stand here once more because this package needs numpy alone; a test holds both to the same numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def confidence(outputs: NDArray[Any], *, score: str, temperature: float = 1.0) -> Floats:
    """How sure outputs are [batch], higher is surer.

    >>> confidence(np.array([[2.0, 0.0]]), score="softmax", temperature=2.0).round(2)  # e / (e + 1)
    array([0.73], dtype=float32)

    Args:
        outputs: before the softmax [batch, classes], at least two classes.
        score: `softmax` (largest probability), `entropy` (1 minus the entropy over its largest possible) or `margin`
            (largest minus second largest probability).
        temperature: above 0, by which outputs are divided.
    """
    shifted: Floats = outputs.astype(np.float32) / np.float32(temperature)
    shifted -= shifted.max(axis=1, keepdims=True)
    shares = np.exp(shifted)
    total = shares.sum(axis=1)
    if score == "softmax":
        return np.asarray(1 / total)
    if score == "entropy":
        entropy = np.log(total) - (shares * shifted).sum(axis=1) / total
        return np.asarray(np.maximum(1 - entropy / np.float32(np.log(outputs.shape[1])), 0))
    assert score == "margin", score
    shares[np.arange(len(shares)), shares.argmax(axis=1)] = 0
    return np.asarray((1 - shares.max(axis=1)) / total)
