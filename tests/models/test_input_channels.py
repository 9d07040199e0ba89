"""Backbones with another number of input channels than their own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from exitsearch.errors import InputError
from exitsearch.models.backbone import create_backbone
from exitsearch.models.multi_exit import build_model
from exitsearch.specs.config import MultiExitConfig


def test_one_channel():
    backbone = create_backbone("test_vit", pretrained=False, in_chans=1, image_size=32, num_outputs=2)
    assert backbone.input_size == backbone.facts.input_size == (1, 32, 32)
    assert backbone.module.patch_embed.proj.weight.shape[1] == 1
    with torch.inference_mode():
        inputs = backbone.example_input(2)
        *_, outputs = backbone.stream(inputs)
        assert torch.equal(outputs, backbone(inputs))


def test_the_models_own_number_changes_nothing():
    asked, own = (create_backbone("test_vit", pretrained=False, image_size=32, **a) for a in ({"in_chans": 3}, {}))
    assert asked.facts == own.facts
    for name, tensor in own.module.state_dict().items():
        assert torch.equal(tensor, asked.module.state_dict()[name])
    assert create_backbone(in_chans=1).input_size == (1, 8, 8)


def test_a_model_of_a_configuration_has_its_channels():
    facts = create_backbone("test_resnet", pretrained=False, in_chans=1, image_size=32, num_outputs=2).facts
    config = MultiExitConfig.model_validate(
        {
            "schema_version": 1,
            "backbone": facts.model_dump(),
            "exits": [{"placement": 0, "head": "conv"}],
            "policy": "interruptible",
            "budget": "uniform:1,2",
            "expected": {"value": 0.5, "metric": "accuracy", "policy": "interruptible", "split": "choice"},
            "optimum": {"value": 0.5, "exact": True, "regret": 0.0},
            "latency_ms": [1.0, 2.0],
            "profile": {},
            "outcomes": {},
        }
    )
    model = build_model(config, pretrained=False)
    assert [tuple(outputs.shape) for outputs in model(torch.randn(2, 1, 32, 32))] == [(2, 2), (2, 2)]


def test_wrong_numbers():
    with pytest.raises(InputError, match="1 input channel or more, found in_chans 0"):
        create_backbone("test_vit", pretrained=False, in_chans=0)
    with pytest.raises(InputError, match="image_size and in_chans are for timm's models"):
        create_backbone(nn.Conv2d(1, 1, 1), example_input=torch.zeros(1, 1, 8, 8), in_chans=1)
