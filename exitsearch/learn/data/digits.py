"""The data set `digits`: scikit-learn's 1,797 real 8 x 8 scans in three disjoint splits, held in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from exitsearch.learn.data.asked import Asked
from exitsearch.learn.data.images import Prepare
from exitsearch.learn.data.splits import DataSplits, TensorsSplit, identity_of
from exitsearch.models.backbone import Backbone

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


def outputs(asked: Asked) -> int:
    """Ten digits."""
    return 10


def load(asked: Asked, backbone: Backbone) -> DataSplits:
    """Its splits."""
    prepare = Prepare.for_backbone(backbone)
    regression = asked.task == "regression"
    splits = {
        key: TensorsSplit(
            torch.from_numpy(split.images),
            torch.from_numpy(split.labels).to(torch.float32 if regression else torch.int64),
            prepare=prepare,
        )
        for key, split in digits_splits().items()
    }
    return DataSplits(
        asked.name,
        identity_of(asked.name, asked.task, prepare),
        asked.task,
        1 if regression else 10,
        **splits,
        classes=() if regression else tuple(map(str, range(10))),
    )
