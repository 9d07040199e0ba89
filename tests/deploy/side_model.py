"""A multi-exit model of a few operators whose second head hears: it reads the side input `audio`."""

from __future__ import annotations

import numpy as np
import torch
from export_models import chosen
from torch import nn

from exitsearch.models.backbone import create_backbone
from exitsearch.models.heads import ExitHead, create_head
from exitsearch.models.multi_exit import MultiExitModel

SIDE_INPUTS = {"audio": (1, 2, 3), "video": (1, 4, 4)}
SIZE = (1, 8, 8)


class Hears(ExitHead):
    """Adds what is heard to what is seen."""

    def __init__(self, placement, num_outputs):
        super().__init__(placement, num_outputs)
        self.read_side("audio")
        self.seen, self.heard = nn.Linear(4, num_outputs), nn.Linear(6, num_outputs)

    def forward(self, features, **side):
        return self.seen(features.mean((2, 3))) + self.heard(side["audio"].flatten(1))


def side_model(policy="contract", side_inputs=None):
    """Three blocks of a convolution, an exit behind each; the backbone has a side input that nobody reads, too."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = [layer for k in range(3) for layer in (nn.Conv2d(4 if k else 1, 4, 3, padding=1), nn.ReLU())]
        module = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(4 * 64, 10)).eval()
        backbone = create_backbone(
            module,
            placements=["1", "3", "5"],
            example_input=torch.zeros(1, *SIZE),
            side_inputs=side_inputs or SIDE_INPUTS,
        )
        heads = [
            create_head("linear", placement=backbone.placements[0], num_outputs=10, seed=0),
            Hears(backbone.placements[1], 10),
            create_head("linear", placement=backbone.placements[2], num_outputs=10, seed=1),
        ]
    config = chosen(backbone.facts, [(0, "linear"), (1, "hears"), (2, "linear")], policy)
    return MultiExitModel(backbone, heads=heads, config=config).eval()


def given(count, *, seed=0):
    """Inputs and what is heard beside them."""
    draw = np.random.default_rng(seed)
    xs = draw.standard_normal((count, *SIZE)).astype(np.float32)
    return xs, {"audio": draw.standard_normal((count, 1, 2, 3)).astype(np.float32)}


def eager(model, xs, side):
    """Outputs of every exit by the model itself."""
    with torch.inference_mode():
        found = model(torch.from_numpy(xs), **{name: torch.from_numpy(array) for name, array in side.items()})
        return [outputs.numpy() for outputs in found]
