"""A multi-exit model of a few operators, quick even where every operator is simulated."""

from __future__ import annotations

import numpy as np
import torch
from export_models import chosen
from torch import nn

from exitsearch.models.backbone import create_backbone
from exitsearch.models.multi_exit import attach_exits

VALUES = [0.5, 0.6, 0.7, 0.8]
SIDE = 8


def small_model(policy="contract"):
    """Three blocks of a convolution, an exit behind each."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = [layer for k in range(3) for layer in (nn.Conv2d(4 if k else 1, 4, 3, padding=1), nn.ReLU())]
        module = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(4 * SIDE * SIDE, 10)).eval()
    backbone = create_backbone(module, placements=["1", "3", "5"], example_input=torch.zeros(1, 1, SIDE, SIDE))
    exits = [(placement, "linear") for placement in range(3)]
    return attach_exits(backbone, config=chosen(backbone.facts, exits, policy), seed=0)


def images(count, *, seed=0):
    """Inputs [count, 1, 8, 8]."""
    return np.random.default_rng(seed).standard_normal((count, 1, SIDE, SIDE)).astype(np.float32)


def eager(model, xs):
    """Outputs of every exit by the model itself."""
    with torch.inference_mode():
        return [outputs.numpy() for outputs in model(torch.from_numpy(xs))]
