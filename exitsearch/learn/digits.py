"""scikit-learn's digits (1,797 real 8 x 8 scans) in three disjoint splits; numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Sizes of the splits, and the seed of the one permutation that draws them. The packaged backbone was trained on
# `heads`; changing either number would leak training scans into the held-out splits.
_SIZES = {"heads": 997, "choice": 400, "report": 400}
_SEED = 0


@dataclass(frozen=True)
class DigitsSplit:
    """One split: images [count, 1, 8, 8] in 0..1 and labels [count] in 0..9."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def digits_splits() -> dict[str, DigitsSplit]:
    """The splits `heads` (training), `choice` (what the search chooses on) and `report` (what it is judged on)."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    images = (scans.images / 16.0).astype(np.float32)[:, None]
    # RandomState's stream is frozen by NumPy's policy, so the splits are the same everywhere and for ever.
    order = np.random.RandomState(_SEED).permutation(len(images))
    edges = np.cumsum(list(_SIZES.values()))[:-1]
    return {
        name: DigitsSplit(images[chosen], scans.target[chosen].astype(np.int64))
        for name, chosen in zip(_SIZES, np.split(order, edges), strict=True)
    }
