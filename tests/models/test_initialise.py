from __future__ import annotations

import pytest
import torch

from exitsearch.errors import UnsupportedError
from exitsearch.models.backbone import create_backbone
from exitsearch.models.heads import create_head
from exitsearch.models.initialise import block_from_backbone, classifier_from_backbone


@pytest.fixture(scope="module")
def backbone():
    return create_backbone(pretrained=False)  # 64 channels, 12 blocks with 4 attention heads, 10 outputs


def head_at(backbone, text: str, index: int, num_outputs: int = 10):
    return create_head(text, placement=backbone.placements[index], num_outputs=num_outputs, seed=1).eval()


def test_block_computes_what_the_next_block_does(backbone):
    head = head_at(backbone, "vit_ee", 3)
    copied = block_from_backbone(head, backbone=backbone)
    assert set(copied) == {f"block.{key}" for key in head.block.state_dict()}
    with torch.no_grad():
        stream = list(backbone.stream(backbone.example_input(2)))
        torch.testing.assert_close(head.block(stream[3]), stream[4])
    # A copy: training the head leaves the backbone alone.
    assert head.block.mlp.fc1.weight.data_ptr() != backbone.module.blocks[4].mlp.fc1.weight.data_ptr()


def test_block_that_cannot_be_copied(backbone):
    with pytest.raises(UnsupportedError, match="no block follows placement 11"):
        block_from_backbone(head_at(backbone, "vit_ee", 11), backbone=backbone)
    with pytest.raises(UnsupportedError, match=r"has 4 attention heads and the exit head 2; create it as vit_ee"):
        block_from_backbone(head_at(backbone, "vit_ee(num_heads=2)", 3), backbone=backbone)
    with pytest.raises(UnsupportedError, match="only a vit_ee head"):
        block_from_backbone(head_at(backbone, "linear", 3), backbone=backbone)
    head = head_at(backbone, "vit_ee(mlp_ratio=2)", 3)
    before = {key: value.clone() for key, value in head.state_dict().items()}
    with pytest.raises(UnsupportedError, match=r"block\.mlp\.fc1\.bias is 128 in the head and 256 there"):
        block_from_backbone(head, backbone=backbone)
    assert all(torch.equal(value, before[key]) for key, value in head.state_dict().items())


def test_linear_at_the_last_placement_is_the_final_exit(backbone):
    head = head_at(backbone, "linear", 11)
    assert classifier_from_backbone(head, backbone=backbone) == ["fc.bias", "fc.weight", "norm.bias", "norm.weight"]
    with torch.no_grad():
        *_, last, final = backbone.stream(backbone.example_input(2))
        torch.testing.assert_close(head(last), final)


def test_classifier_that_cannot_be_copied(backbone):
    with pytest.raises(UnsupportedError, match=r"fc\.bias is 3 in the head and 10 there"):
        classifier_from_backbone(head_at(backbone, "linear", 3, num_outputs=3), backbone=backbone)
    with pytest.raises(UnsupportedError, match="only a linear head"):
        classifier_from_backbone(head_at(backbone, "vit_ee", 3), backbone=backbone)


def test_linear_without_norm_takes_the_classifier_alone(backbone):
    head = head_at(backbone, "linear(norm=false)", 11)
    assert classifier_from_backbone(head, backbone=backbone) == ["fc.bias", "fc.weight"]
    assert torch.equal(head.fc.weight, backbone.module.head.weight)
