"""Cutting: bits, gradients, modes and refusals, over timm's test models and small models written for one thing."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from exitsearch.errors import InputError, UnsupportedError
from exitsearch.models.backbone import create_backbone

IMAGE = torch.zeros(1, 3, 16, 16)


def images(backbone, batch_size=2):
    return backbone.example_input(batch_size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", timm.list_models("test_*"))
def test_every_test_model_of_timm_bit_for_bit(name):
    backbone = create_backbone(name, pretrained=False)
    # The batch sizes of the trace are 2 and 3; neither may be baked in.
    for batch_size in (1, 4):
        x = images(backbone, batch_size)
        with torch.inference_mode():
            *features, outputs = backbone.stream(x)
            assert torch.equal(outputs, backbone.module(x))
        for placement, found in zip(backbone.placements, features, strict=True):
            assert found.shape[0] == batch_size
            shape = {
                "tokens": (placement.token_count, placement.channels),
                "nchw": (placement.channels, *placement.grid),
                "nhwc": (*placement.grid, placement.channels),
            }[placement.layout]
            assert tuple(found.shape[1:]) == shape


# One small model of each kind of forward: rows of blocks, maps of either layout, several tensors carried.
FAMILIES = {
    "vit": ("test_vit", {}),
    "resnet": ("test_resnet", {}),
    "convnext": ("test_convnext", {}),
    "efficientnet": ("test_efficientnet", {}),
    "maxvit": ("test_maxvit", {}),
    "vit_relpos": ("test_vit_relpos", {}),
    "nfnet": ("test_nfnet", {}),
    "byobnet": ("test_byobnet", {}),
    "mambaout": ("test_mambaout", {}),
    "levit": ("levit_128s", {"image_size": 64}),
    "densenet": ("densenet121", {"image_size": 32}),
    "crossvit": ("crossvit_tiny_240", {}),
    "swin": ("swin_tiny_patch4_window7_224", {"image_size": 56}),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_equal_the_whole_models(family):
    """In training mode with the same seed: drop path, dropout and batch norm act alike."""
    name, options = FAMILIES[family]
    backbone = create_backbone(name, pretrained=False, num_outputs=5, **options).train()
    other = copy.deepcopy(backbone)
    x = images(backbone)

    def gradients(model, run):
        torch.manual_seed(1)
        run(x).square().mean().backward()
        return {key: parameter.grad for key, parameter in model.named_parameters() if parameter.grad is not None}

    whole = gradients(backbone.module, backbone.module)
    parts = gradients(other.module, lambda x: list(other.stream(x))[-1])
    assert whole.keys() == parts.keys()
    assert len(whole) > 10
    for key, gradient in whole.items():
        assert torch.equal(gradient, parts[key]), key
    # What batch norm remembers is the same too.
    for key, value in backbone.module.state_dict().items():
        assert torch.equal(value, other.module.state_dict()[key]), key


class Block(nn.Module):
    def __init__(self, channels=8):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.second(functional.relu(self.first(x)))


class Net(nn.Module):
    """A stem, three blocks and a classifier; subclasses change one thing."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.blocks = nn.ModuleList([Block() for _ in range(3)])
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean((2, 3)))


class LongSkip(Net):
    """The stem's output, and numbers that follow batch and grid, are needed at the end."""

    def forward(self, x):
        start = x = self.stem(x)
        batch, _, height, width = x.shape
        for block in self.blocks:
            x = block(x)
        x = (x + start).reshape(batch, 8, height * width)
        return self.fc(x.mean(2)) * batch


class Pairs(Net):
    """Blocks that pass a pair along, whose second part is a dictionary with None in it."""

    class Pass(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Block()
            self.more = Block()

        def forward(self, x, extra):
            assert extra["nothing"] is None
            return self.more(self.block(x)) + extra["start"].mean(), extra

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([self.Pass() for _ in range(2)])

    def forward(self, x):
        x = self.stem(x)
        extra = {"start": x * 2, "nothing": None, "size": tuple(x.shape)}
        for block in self.blocks:
            x, extra = block(x, extra)
        assert extra["size"][0] == len(x)
        return self.fc(x.mean((2, 3)) + extra["start"].mean())


class Dropped(Net):
    """Dropout in the model's own forward, and a buffer of its own."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.tensor([2.0]))

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = functional.dropout(block(x), 0.5, self.training)
        return self.fc(x.mean((2, 3))) * self.scale


class DependsOnValues(Net):
    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            if x.sum() > 0:
                x = block(x)
        return self.fc(x.mean((2, 3)))


class TwoAnswers(Net):
    def forward(self, x):
        outputs = super().forward(x)
        return outputs, outputs


@pytest.mark.parametrize("kind", [Net, LongSkip, Pairs, Dropped])
@pytest.mark.parametrize("training", [False, True])
def test_modules_that_are_not_timms(kind, training):
    torch.manual_seed(0)
    backbone = create_backbone(kind(), example_input=IMAGE).train(training)
    assert [placement.module for placement in backbone.placements][:2] == ["blocks.0", "blocks.1"]
    assert backbone.num_outputs == 5
    for batch_size in (1, 5):
        x = images(backbone, batch_size)
        torch.manual_seed(1)
        whole = backbone.module(x)
        torch.manual_seed(1)
        assert torch.equal(list(backbone.stream(x))[-1], whole)
    assert backbone.final_classifier() == [backbone.module.fc]


def test_what_is_carried_is_said():
    """Two maps of one grid go on from each block, its own and the stem's: heads read both, and both are carried."""
    backbone = create_backbone(LongSkip(), example_input=IMAGE)
    assert [placement.carried for placement in backbone.placements] == [[[8, 4, 4], [8, 4, 4]]] * 3
    assert backbone.placements[0].channels == 16
    x = images(backbone)
    features, *carried = next(iter(backbone.states(x)))
    start = backbone.module.stem(x)
    assert torch.equal(features, torch.cat((start, backbone.module.blocks[0](start)), 1))
    assert [tuple(tensor.shape) for tensor in carried] == [(2, 8, 4, 4)] * 2


def test_a_buffer_follows_the_model():
    backbone = create_backbone(Dropped(), example_input=IMAGE)
    x = images(backbone)
    backbone.module.to(torch.float64)
    backbone.module.scale = torch.tensor([3.0], dtype=torch.float64)
    assert torch.equal(list(backbone.stream(x.double()))[-1], backbone.module(x.double()))
    assert torch.equal(list(copy.deepcopy(backbone).stream(x.double()))[-1], backbone.module(x.double()))


def test_shares_of_macs():
    """Stem: 3 x 8 filters of 9 weights; a block: 2 x 8 x 8 x 9; on the same 16 cells. The classifier: 8 x 5, once."""
    backbone = create_backbone(Net(), example_input=IMAGE)
    stem, block, classifier = 3 * 8 * 9 * 16, 2 * 8 * 8 * 9 * 16, 40
    total = stem + 3 * block + classifier
    shares = [placement.macs_share for placement in backbone.placements]
    assert shares == pytest.approx([(stem + count * block) / total for count in (1, 2, 3)])


def test_named_placements():
    backbone = create_backbone(Net(), placements=["stem", "blocks.1"], example_input=IMAGE)
    assert [placement.module for placement in backbone.placements] == ["stem", "blocks.1"]
    x = images(backbone)
    assert torch.equal(list(backbone.stream(x))[-1], backbone.module(x))
    vit = create_backbone("test_vit", placements=["blocks.2"], device="meta")
    assert [placement.module for placement in vit.placements] == ["blocks.2"]


@pytest.mark.parametrize(
    ("module", "options", "error", "words"),
    [
        (DependsOnValues, {}, UnsupportedError, "DependsOnValues cannot be cut: its forward cannot be traced"),
        (TwoAnswers, {}, UnsupportedError, "wrap it in a module that returns its logits alone"),
        (Net, {"placements": ["blocks.7"]}, InputError, "it has no 'blocks.7'"),
        (
            Net,
            {"placements": ["fc"]},
            UnsupportedError,
            "no exit head can stand after fc of Net: its output is neither",
        ),
        (Net, {"example_input": None}, InputError, "an example_input .* is needed, found none"),
        (Net, {"num_outputs": 3}, InputError, "a module is taken as it is"),
        (nn.Flatten, {}, InputError, "Flatten has none"),
        (lambda: nn.Conv2d(3, 4, 1), {}, UnsupportedError, "has no blocks after which an exit head can stand"),
    ],
)
def test_refusals(module, options, error, words):
    """One sentence each, with the way out."""
    with pytest.raises(error, match=words):
        create_backbone(module(), **{"example_input": IMAGE, **options})


def test_an_example_is_not_for_timms_models():
    with pytest.raises(InputError, match="knows its input size"):
        create_backbone("test_vit", example_input=IMAGE)


def test_wrappers_take_it():
    """torch.compile, autocast and channels_last give what they give for the whole model."""
    backbone = create_backbone("test_resnet", pretrained=False)
    x = images(backbone)

    def parts(x):
        return list(backbone.stream(x))[-1]

    with torch.inference_mode():
        compiled = torch.compile(parts, backend="eager", fullgraph=False)
        assert torch.equal(compiled(x), backbone.module(x))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(parts(x), backbone.module(x))
        last = x.to(memory_format=torch.channels_last)
        backbone.module.to(memory_format=torch.channels_last)
        assert torch.equal(parts(last), backbone.module(last))
        assert next(backbone.stream(last)).is_contiguous(memory_format=torch.channels_last)


def test_checkpointing_and_hooks_of_blocks_still_act():
    backbone = create_backbone("test_vit", pretrained=False)
    seen = []
    backbone.module.blocks[1].register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    next(backbone.states(images(backbone)))
    assert seen == []  # the second block is not asked for
    list(backbone.stream(images(backbone)))
    assert len(seen) == 1


class InParts(nn.Module):
    """The outputs of a backbone, computed segment by segment."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, x):
        return list(self.backbone.stream(x))[-1]


def test_data_parallel_training():
    """DistributedDataParallel finds every parameter used through the segments, and the gradients are the same."""
    parts = InParts(create_backbone("test_convnext", num_outputs=4)).train()
    whole = copy.deepcopy(parts.backbone.module)
    x = images(parts.backbone)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        nn.parallel.DistributedDataParallel(parts)(x).square().mean().backward()
    finally:
        torch.distributed.destroy_process_group()
    whole(x).square().mean().backward()
    for key, parameter in parts.backbone.module.named_parameters():
        assert torch.equal(parameter.grad, whole.get_parameter(key).grad), key
