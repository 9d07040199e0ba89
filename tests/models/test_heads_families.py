from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from exitsearch.errors import InputError
from exitsearch.models.heads import ExitHead, check_fits, create_head, list_heads
from exitsearch.specs.placement import Placement
from exitsearch.testing import LAYOUTS, example_features

PARAMS = list(csv.DictReader((Path(__file__).parent / "mevit_vit_b16_384_params.csv").open()))
NAMES = [head.name for head in list_heads()]


def placement(layout: str, channels: int, side: int, prefix_tokens: int = 0, class_token: bool = False) -> Placement:
    grid = (side, side)
    return LAYOUTS["tokens"].model_copy(
        update={
            "layout": layout,
            "channels": channels,
            "grid": grid,
            "prefix_tokens": prefix_tokens,
            "class_token": class_token,
        }
    )


def vit(channels: int, side: int) -> Placement:
    return placement("tokens", channels, side, prefix_tokens=1, class_token=True)


def params(head: ExitHead) -> int:
    return sum(parameter.numel() for parameter in head.parameters())


def macs(head: ExitHead, function=None) -> float:
    """Multiply-accumulates of one input; torch counts two operations for each."""
    with FlopCounterMode(display=False) as counter:
        (function or head.eval())(example_features(head.placement).to("meta"))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("row", PARAMS, ids=lambda row: f"{row['head']}-{row['outputs']}")
def test_parameters_of_mevit_are_the_published_ones(row):
    """ViT-B/16 at 384 x 384: 768 channels, 24 x 24 patches and a class token.

    By hand for mlp_ee with 10 outputs: norm 2 * 768 = 1536; tail (768 + 1) * 256 + (256 + 1) * 256 + (256 + 1) * 10
    = 196864 + 65792 + 2570 = 265226; together 266762.
    """
    head = create_head(row["head"], placement=vit(768, 24), num_outputs=int(row["outputs"]), device="meta")
    assert params(head) == int(row["params"])


@pytest.mark.parametrize(
    ("text", "millions", "mega_macs"),
    [
        ("lph", 1.270, 232.6),
        ("lph(depthwise=false)", 1.261, 231.2),
        ("gah(stride=2)", 2.437, 119.3),
        ("gah(stride=3)", 2.437, 59.9),
    ],
)
def test_costs_of_lgvit_are_the_published_ones(text, millions, mega_macs):
    """768 channels, 14 x 14 patches, 100 outputs; the MACs are those of the body.

    By hand for gah(stride=2), 7 * 7 = 49 tokens: qkv and output 49 * 4 * 768^2 = 115.61 M; scores and mixing
    2 * 49^2 * 768 = 3.69 M; together 119.29 M.
    """
    head = create_head(text, placement=vit(768, 14), num_outputs=100, device="meta")
    assert round(params(head) / 1e6, 3) == millions
    assert round(macs(head, head.eval().body) / 1e6, 1) == mega_macs


def test_parameters_of_all_eight_lgvit_heads():
    texts = ["lph"] * 2 + ["lph(depthwise=false)"] * 2 + ["gah(stride=2)"] * 2 + ["gah(stride=3)"] * 2
    heads = [create_head(text, placement=vit(768, 14), num_outputs=100, device="meta") for text in texts]
    assert round(sum(map(params, heads)) / 1e6, 2) == 14.81


REAL = {
    "digits": vit(64, 8),
    "vit_tiny": vit(192, 14),
    "deit_small": vit(384, 14),
    "deit_distilled": placement("tokens", 384, 14, prefix_tokens=2, class_token=True),
    "vit_base_384": vit(768, 24),
    "dinov2_registers": placement("tokens", 384, 37, prefix_tokens=5, class_token=True),
    "siglip": placement("tokens", 768, 14),
    "resnet_first": placement("nchw", 64, 56),
    "resnet_last": placement("nchw", 2048, 7),
    "swin_first": placement("nhwc", 96, 56),
    "swin_last": placement("nhwc", 768, 7),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("at", REAL.values(), ids=REAL.keys())
def test_placements_of_real_backbones(name, at):
    assert check_fits(name, at) is None
    head = create_head(name, placement=at, num_outputs=10, device="meta")
    assert tuple(head(example_features(at, batch_size=2).to("meta")).shape) == (2, 10)


CNN_MAPS = {
    "resnet18": ((64, 56), (128, 28), (256, 14), (512, 7)),
    "resnet152": ((256, 56), (512, 28), (1024, 14), (2048, 7)),
    "densenet201": ((128, 28), (256, 14), (896, 7), (1920, 7)),
    "inception_v3": ((288, 35), (768, 17), (2048, 8)),
}


@pytest.mark.parametrize(
    "at", [placement("nchw", channels, side) for maps in CNN_MAPS.values() for channels, side in maps]
)
def test_sl_vit_is_lighter_than_the_convolutional_head(at):
    """The paper's claim, at the placements of common CNNs."""
    light = create_head("sl_vit", placement=at, num_outputs=10, device="meta")
    heavy = create_head("conv", placement=at, num_outputs=10, device="meta")
    assert params(light) < params(heavy)
    assert macs(light) < macs(heavy)


def answer(text: str, at: Placement, x: Tensor) -> Tensor:
    with torch.no_grad():
        return create_head(text, placement=at, num_outputs=3, seed=0).eval()(x)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "vit_ee"])
def test_registers_are_never_read(name):
    """Five prefix tokens, the first a class token: only vit_ee attends to the other four."""
    at = LAYOUTS["tokens_registers"]
    x = example_features(at, batch_size=2)
    other = x.clone()
    other[:, 1:5] += 1.0
    assert torch.equal(answer(name, at, x), answer(name, at, other))


@pytest.mark.parametrize("name", NAMES)
def test_layouts_of_the_same_map_agree(name):
    """A map is the same tokens in three orders of the axes."""
    tokens = LAYOUTS["tokens_no_class"]
    x = example_features(tokens, batch_size=2)  # [2, 16, 32]
    as_nhwc = x.reshape(2, 4, 4, 32)
    as_nchw = as_nhwc.permute(0, 3, 1, 2)
    expected = answer(name, tokens, x)
    for layout, features in (("nhwc", as_nhwc), ("nchw", as_nchw)):
        at = tokens.model_copy(update={"layout": layout})
        torch.testing.assert_close(answer(name, at, features), expected)


READS_CLASS_TOKEN = set(NAMES) - {"cnn_ignore_ee", "conv", "sl_vit"}


@pytest.mark.parametrize("name", NAMES)
def test_who_reads_the_class_token(name):
    at = LAYOUTS["tokens"]
    x = example_features(at, batch_size=2)
    other = x.clone()
    other[:, 0] += 1.0 + torch.arange(32.0)  # uneven, or a norm would take it away
    assert torch.equal(answer(name, at, x), answer(name, at, other)) == (name not in READS_CLASS_TOKEN)


@pytest.mark.parametrize("name", ["lph", "gah"])
def test_distilled_models_average_two_answers(name):
    """(W1 (pooled + class) + b1 + W2 (pooled + distillation) + b2) / 2."""
    at = LAYOUTS["tokens_distilled"]
    head = create_head(name, placement=at, num_outputs=3, seed=0).eval()
    x = example_features(at, batch_size=2)
    with torch.no_grad():
        pooled = head.body(x).mean(1)
        expected = (head.fc(pooled + x[:, 0]) + head.fc_distilled(pooled + x[:, 1])) / 2
        torch.testing.assert_close(head(x), expected)


def test_gah_keeps_every_rth_cell():
    """Stride 2 on a 4 x 4 grid keeps rows and columns 0 and 2: patches 0, 2, 8 and 10."""
    at = LAYOUTS["tokens_no_class"]
    x = example_features(at)
    dropped = x.clone()
    dropped[:, [i for i in range(16) if i not in (0, 2, 8, 10)]] = 9.0
    assert torch.equal(answer("gah(stride=2)", at, x), answer("gah(stride=2)", at, dropped))
    for kept in (0, 2, 8, 10):
        changed = x.clone()
        changed[:, kept] += 1.0
        assert not torch.equal(answer("gah(stride=2)", at, x), answer("gah(stride=2)", at, changed))


def test_mixer_norms_act_over_tokens():
    """A norm over the token axis takes away what a channel has the same in every token; the skip keeps it."""
    at = LAYOUTS["tokens"]
    head = create_head("mlp_mixer_ee", placement=at, num_outputs=3, seed=0)
    x = example_features(at, batch_size=2).transpose(1, 2)  # [2, 32, 17]
    assert head.token_norm.normalized_shape == head.channel_norm.normalized_shape == (17,)
    shifted = x + torch.arange(32.0)[:, None]
    torch.testing.assert_close(head.token_norm(shifted), head.token_norm(x), rtol=1e-4, atol=1e-4)


def test_resmlp_starts_plain():
    """Affine scales and layer scales start at 1, shifts at 0."""
    head = create_head("resmlp_ee", placement=LAYOUTS["tokens"], num_outputs=3)
    for scale in (head.affine1.scale, head.affine2.scale, head.scale1, head.scale2):
        assert torch.equal(scale, torch.ones(32))
    for shift in (head.affine1.shift, head.affine2.shift):
        assert torch.equal(shift, torch.zeros(32))


@pytest.mark.parametrize(
    ("channels", "expected"), [(768, 12), (192, 12), (384, 12), (64, 4), (320, 10), (2048, 8), (7, 1), (1280, 10)]
)
def test_attention_heads_of_vit_ee(channels, expected):
    """12 where it divides; 64 / 4 = 16 channels a head, 320 / 10 = 32, 2048 / 8 = 256; 7 leaves only 1."""
    head = create_head("vit_ee", placement=vit(channels, 2), num_outputs=3, device="meta")
    assert head.block.attn.num_heads == expected


def test_options_that_the_channels_refuse():
    assert "must divide the 32 channels" in str(check_fits("vit_ee(num_heads=5)", LAYOUTS["tokens"]))
    assert "larger than the 4x4 grid" in str(check_fits("sl_vit(patch_size=5)", LAYOUTS["tokens"]))
    assert "needs patch tokens" in str(check_fits("linear(pool=mean)", LAYOUTS["tokens_no_grid"]))
    with pytest.raises(InputError, match="must divide its width 64, found 5"):
        check_fits("sl_vit(num_heads=5)", LAYOUTS["tokens"])


def test_weights_under_the_penalty():
    """In mevit's heads the three weights of the tail; elsewhere all weights with two axes or more."""
    at = LAYOUTS["tokens"]
    shapes = [tuple(weight.shape) for weight in create_head("vit_ee", placement=at, num_outputs=3).decay_parameters()]
    assert shapes == [(256, 32), (256, 256), (3, 256)]
    assert [w.ndim for w in create_head("linear", placement=at, num_outputs=3).decay_parameters()] == [2]


def test_tail_starts_he_normal():
    """Standard deviation sqrt(2 / fan_in) = sqrt(2 / 256) = 0.0884 for the middle layer, and zero biases."""
    tail = create_head("mlp_ee", placement=LAYOUTS["tokens"], num_outputs=3, seed=0).tail
    assert float(tail.fc2.weight.detach().std()) == pytest.approx(0.0884, rel=0.02)
    assert not tail.fc2.bias.any()
