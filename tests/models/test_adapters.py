"""Adapters: nothing at first, what they were trained to at the end, and no trace in the merged model."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from exitsearch.errors import InputError
from exitsearch.models.adapters import LowRank, adapter_parameters, attach_adapters, merge_adapters
from exitsearch.models.backbone import Backbone, create_backbone

# Linear layers alone; convolutions with depthwise ones among them; weights that attention reads from its layer.
NAMES = ["vit_digits_patch1_8", "test_efficientnet", "test_convnext"]


def stream(backbone: Backbone) -> list[torch.Tensor]:
    """Features at every placement, the outputs of the cut backbone, and those of the model itself."""
    x = backbone.example_input(2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return [*backbone.stream(x), backbone(x)]


def move(backbone: Backbone) -> None:
    """Stand in for training: give every adapter weights of its own."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in adapter_parameters(backbone):
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))


@pytest.mark.parametrize("name", NAMES)
def test_from_nothing_to_plain_weights(name: str) -> None:
    backbone = create_backbone(name, pretrained=False)
    plain, state = stream(backbone), copy.deepcopy(backbone.state_dict())
    weights = dict(backbone.named_parameters())
    adapted = attach_adapters(backbone, rank=2, seed=0)
    assert len(adapter_parameters(backbone)) == 2 * len(adapted) > 0
    for before, after in zip(plain, stream(backbone), strict=True):
        assert torch.equal(before, after)
    move(backbone)
    trained = stream(backbone)
    assert not torch.equal(plain[0], trained[0])  # the first segment sees them, so does every later one
    merge_adapters(backbone)
    for before, after in zip(trained, stream(backbone), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-6)
    assert adapter_parameters(backbone) == []
    assert list(backbone.state_dict()) == list(state)
    changed = {key for key, tensor in backbone.state_dict().items() if not torch.equal(tensor, state[key])}
    assert changed == {f"module.{layer}.weight" for layer in adapted}
    # The same parameters, in the same order: an optimiser that held them goes on.
    assert list(weights) == [key for key, _ in backbone.named_parameters()]
    assert all(weights[key] is weight for key, weight in backbone.named_parameters())
    assert not any("Parametrized" in type(part).__name__ for part in backbone.modules())


@pytest.fixture(scope="module")
def made() -> Backbone:
    return create_backbone("test_vit", pretrained=False)


@pytest.fixture
def backbone(made: Backbone) -> Backbone:
    return copy.deepcopy(made)


def test_a_merged_backbone_is_an_ordinary_one(backbone: Backbone) -> None:
    attach_adapters(backbone, rank=2)
    move(backbone)
    merge_adapters(backbone)
    fresh = create_backbone("test_vit", pretrained=False, seed=1)
    fresh.load_state_dict(backbone.state_dict())
    for mine, others in zip(stream(backbone), stream(fresh), strict=True):
        assert torch.equal(mine, others)


def test_by_hand() -> None:
    # W + up @ down = (1, 2; 3, 4) + (1; 2) (10, 20) = (11, 22; 23, 44).
    adapter = LowRank(torch.zeros(2, 2), rank=1, order=("weight",), generator=torch.Generator())
    with torch.no_grad():
        adapter.up.copy_(torch.tensor([[1.0], [2.0]]))
        adapter.down.copy_(torch.tensor([[10.0, 20.0]]))
    assert adapter(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist() == [[11, 22], [23, 44]]
    # The kernel of a convolution counts as inputs: (2, 1, 1, 2) is seen as (2, 2).
    assert adapter(torch.zeros(2, 1, 1, 2)).tolist() == [[[[10, 20]]], [[[20, 40]]]]


def test_gradients_reach_the_adapters_through_the_cut_programs(backbone: Backbone) -> None:
    attach_adapters(backbone, rank=2)
    move(backbone)
    for train in (False, True):
        backbone.zero_grad(set_to_none=True)
        backbone.train(train)
        next(backbone.stream(backbone.example_input(2))).sum().backward()
        block = backbone.module.blocks[0]
        assert block.mlp.fc1.parametrizations.weight[0].up.grad.abs().sum() > 0
        assert backbone.module.blocks[1].mlp.fc1.parametrizations.weight[0].up.grad is None


def test_training_programs_of_before_are_not_kept(backbone: Backbone) -> None:
    """Traced in training mode before, between and after: always the model as it is."""
    x = backbone.example_input(2)

    def agree() -> None:
        backbone.train()
        *_, last = backbone.stream(x)
        torch.testing.assert_close(last, backbone(x))

    agree()
    attach_adapters(backbone, rank=2)
    move(backbone)
    agree()
    merge_adapters(backbone)
    agree()


def test_what_has_no_adapter() -> None:
    backbone = create_backbone("test_efficientnet", pretrained=False)
    adapted = set(attach_adapters(backbone, rank=2))
    layers = {name: part for name, part in backbone.module.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)}
    depthwise = {name for name, layer in layers.items() if getattr(layer, "groups", 1) > 1}
    assert depthwise
    assert not adapted & depthwise
    assert "classifier" in layers
    assert "classifier" not in adapted
    for name in adapted:
        adapter = layers[name].parametrizations.weight[0]
        assert adapter.up.numel() + adapter.down.numel() < layers[name].weight.numel()


class _ReadsAWeight(nn.Module):
    """Uses a layer's weight outside of the layer, where the backbone is cut, and shares another between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, stride=4)
        self.read = nn.Linear(16, 16)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1)) for _ in range(3)])
        self.blocks[1][0].weight = self.blocks[0][0].weight
        self.fc = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.nn.functional.conv2d(x, self.read.weight[:, :, None, None])
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean((2, 3)))


def test_weights_that_are_shared_or_read_elsewhere_are_left_alone() -> None:
    torch.manual_seed(0)
    backbone = create_backbone(
        _ReadsAWeight(), placements=["blocks.0", "blocks.1", "blocks.2"], example_input=torch.zeros(1, 3, 16, 16)
    )
    plain = stream(backbone)
    adapted = attach_adapters(backbone, rank=1)
    assert adapted == ["stem", "blocks.0.1", "blocks.1.1", "blocks.2.0", "blocks.2.1"]
    move(backbone)
    trained = stream(backbone)
    assert torch.equal(trained[-1], trained[-2])  # cut and whole answer alike
    assert not torch.equal(plain[-1], trained[-1])
    merge_adapters(backbone)
    torch.testing.assert_close(stream(backbone), trained, rtol=1e-5, atol=1e-6)


def test_copies_are_merged_each_on_its_own(backbone: Backbone) -> None:
    """A moving average of the weights is such a copy: merging the model must not break it, nor the other way round."""
    attach_adapters(backbone, rank=2)
    move(backbone)
    average = copy.deepcopy(backbone)
    with torch.no_grad():
        for weight in adapter_parameters(average):
            weight.mul_(0.5)
    wanted, halved = stream(backbone), stream(average)
    merge_adapters(backbone)
    torch.testing.assert_close(stream(average), halved)
    merge_adapters(average)
    torch.testing.assert_close(stream(average), halved)
    torch.testing.assert_close(stream(backbone), wanted)


def test_a_seed_gives_the_same_adapters(backbone: Backbone) -> None:
    drawn = []
    for seed in (0, 0, 1):
        attach_adapters(backbone, rank=2, seed=seed)
        drawn.append([weight.detach().clone() for weight in adapter_parameters(backbone)])
        merge_adapters(backbone)
    assert all(torch.equal(a, b) for a, b in zip(drawn[0], drawn[1], strict=True))
    assert not torch.equal(drawn[0][0], drawn[2][0])


def test_merging_in_full_precision_under_autocast() -> None:
    weight = torch.randn(8, 8)
    adapter = LowRank(weight, rank=2, order=("weight",), generator=torch.Generator().manual_seed(0))
    nn.init.normal_(adapter.up)
    plain = adapter(weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(adapter(weight), plain)


def test_wrong_input(backbone: Backbone) -> None:
    with pytest.raises(InputError, match="a rank of at least 1, found 0"):
        attach_adapters(backbone, rank=0)
    with pytest.raises(InputError, match=r"no linear layer or convolution that adapters of rank 1000 would be smaller"):
        attach_adapters(backbone, rank=1000)
    attach_adapters(backbone, rank=2)
    with pytest.raises(InputError, match=r"has adapters already; merge them first"):
        attach_adapters(backbone, rank=2)


def test_merging_without_adapters_changes_nothing(backbone: Backbone) -> None:
    before = copy.deepcopy(backbone.state_dict())
    merge_adapters(backbone)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())
