"""The examples of a module and a head of one's own, as a user would run them."""

from __future__ import annotations

from pathlib import Path

import torch

from exitsearch.models.backbone import create_backbone
from exitsearch.models.heads import load_plugin
from exitsearch.testing import HeadConformance

EXAMPLES = Path(__file__).parents[1] / "examples"


class TestGatedMean(HeadConformance):
    head = "gated_mean"
    options = {"dropout": 0.1}  # noqa: RUF012

    @classmethod
    def setup_class(cls):
        # Not when the file is collected: tests of the registry list what is registered.
        load_plugin(EXAMPLES / "my_heads.py")


def test_a_module_of_ones_own_by_its_name():
    load_plugin(EXAMPLES / "own_module.py")
    backbone = create_backbone("my_net", num_outputs=4)
    modules = [placement.module for placement in backbone.placements]
    assert modules == [f"stage{stage}.{block}" for stage in (1, 2) for block in range(3)]
    x = backbone.example_input(2)
    with torch.inference_mode():
        assert torch.equal(list(backbone.stream(x))[-1], backbone.module(x))
