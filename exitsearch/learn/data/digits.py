"""The data set `digits`: scikit-learn's, held in memory."""

from __future__ import annotations

import torch

from exitsearch.learn.data.asked import Asked
from exitsearch.learn.data.images import Prepare
from exitsearch.learn.data.splits import DataSplits, TensorsSplit, identity_of
from exitsearch.learn.digits import digits_splits
from exitsearch.models.backbone import Backbone


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
