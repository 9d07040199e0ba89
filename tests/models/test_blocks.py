from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from exitsearch.models.blocks import find_blocks


def found(name):
    with torch.device("meta"):
        return list(find_blocks(timm.create_model(name)))


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        ("vit_tiny_patch16_224", 12, "blocks.0", "blocks.11"),
        ("resnet50", 16, "layer1.0", "layer4.2"),
        ("swin_tiny_patch4_window7_224", 12, "layers.0.blocks.0", "layers.3.blocks.1"),
        # Children of one class that are in no list; the reductions between them count too.
        ("inception_v3", 11, "Mixed_5b", "Mixed_7c"),
        ("regnetx_002", 13, "s1", "s4.b7"),
        ("densenet121", 58, "features.denseblock1.denselayer1", "features.denseblock4.denselayer16"),
        # Plain rows of layers: a run of convolution, activation and pooling, named by its last module.
        ("vgg11", 8, "features.2", "features.20"),
    ],
)
def test_blocks_of_known_models(name, count, first, last):
    """As many as the papers' tables have; a stage of one block (RegNet's s1) counts as that block."""
    blocks = found(name)
    assert (len(blocks), blocks[0], blocks[-1]) == (count, first, last)


def test_stages_give_way_to_blocks_only_where_these_hold_most_of_them():
    def block():
        return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))

    class Stage(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.blocks = nn.ModuleList([block(), block()])
            self.rest = nn.Linear(width, width)

    # Two blocks of two 8 x 8 layers hold 288 parameters; the rest 4 x 4 + 4 = 20 or 32 x 32 + 32 = 1056.
    assert find_blocks(nn.Sequential(Stage(4))) == {"0.blocks.0": "0", "0.blocks.1": "0"}
    assert find_blocks(nn.Sequential(Stage(32))) == {"0": None}


def test_a_single_layer_has_no_blocks():
    assert find_blocks(nn.Linear(4, 4)) == {}
