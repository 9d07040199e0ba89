"""A backbone and a handful of digits, small enough for tests."""

from __future__ import annotations

import torch

from exitsearch.learn.bank.recipe import HeadRecipe
from exitsearch.learn.data import DataSplits, TensorsSplit
from exitsearch.learn.data.digits import digits_splits
from exitsearch.learn.data.images import Prepare
from exitsearch.models.backbone import Backbone, create_backbone

RECIPE = HeadRecipe(
    name="test", description="", epochs=2, batch_size=10, learning_rate=1e-3, weight_decay=1e-4, schedule="one_cycle"
)
HEADS = ["mlp_ee", "linear"]  # one with dropout and an L2 penalty, one without
PLACEMENTS = [1, 4]


def small_backbone(*, task: str = "classification", seed: int = 0) -> Backbone:
    outputs = 1 if task == "regression" else None
    return create_backbone("vit_digits_patch1_8", pretrained=False, num_outputs=outputs, task=task, seed=seed)


def small_digits(backbone: Backbone, *, count: int = 30) -> DataSplits:
    task = backbone.facts.task
    prepare = Prepare.for_backbone(backbone)
    dtype = torch.float32 if task == "regression" else torch.int64
    splits = {
        name: TensorsSplit(
            torch.from_numpy(split.images[:count]), torch.from_numpy(split.labels[:count]).to(dtype), prepare=prepare
        )
        for name, split in digits_splits().items()
    }
    return DataSplits("digits", f"first {count}", task, 1 if task == "regression" else 10, **splits)
