from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from exitsearch.errors import UnsupportedError
from exitsearch.measure.macs import engines
from exitsearch.measure.macs.count import count_chain, count_head, count_model
from exitsearch.models.backbone import create_backbone


@pytest.mark.parametrize(
    ("name", "gmacs"),
    [
        ("vit_tiny_patch16_224", 1.254),
        ("vit_small_patch16_224", 4.599),
        ("vit_base_patch16_224", 17.564),
        ("resnet50", 4.089),
    ],
)
def test_true_totals(name, gmacs):
    with torch.device("meta"):
        module = timm.create_model(name).eval()
    counts = count_model(module, torch.empty(1, 3, 224, 224, device="meta"))
    assert counts.macs / 1e9 == pytest.approx(gmacs, rel=1e-3)
    assert counts.macs == counts.macs_by_torch
    assert counts.params == sum(parameter.numel() for parameter in module.parameters())


def test_vit_closed_form():
    """test_vit at 160: width 64, 6 blocks, MLP 3 x 64, 10 x 10 patches and a class token, so 101 tokens.

    Stem 100 * 3 * 16 * 16 * 64; a block 101 * 64 * (3 * 64 + 64 + 2 * 192) in linear layers and 2 * 101 * 101 * 64 in
    attention; classifier 64 * 1000.
    """
    with torch.device("meta"):
        module = timm.create_model("test_vit").eval()
    assert module.patch_embed.num_patches == 100
    assert module.blocks[0].mlp.fc1.out_features == 192
    depth = len(module.blocks)
    counts = count_model(module, torch.empty(1, 3, 160, 160, device="meta"))
    assert counts.operators == {
        "conv": 100 * 3 * 16 * 16 * 64,
        "linear": depth * 101 * 64 * (3 * 64 + 64 + 2 * 192) + 64 * 1000,
        "attention": depth * 2 * 101 * 101 * 64,
    }
    assert counts.macs == sum(counts.operators.values())
    assert counts.other_ops > 0
    assert counts.not_counted == {"aten::add": 1 + 2 * depth, "aten::gelu": depth}


def test_fused_and_unfused_attention_count_the_same():
    with torch.device("meta"):
        module = timm.create_model("test_vit").eval()
    x = torch.empty(1, 3, 160, 160, device="meta")
    fused = count_model(module, x)
    for block in module.blocks:
        block.attn.fused_attn = False
    unfused = count_model(module, x)
    assert fused.macs == unfused.macs == unfused.macs_by_torch
    assert unfused.operators["matmul"] == fused.operators["attention"]
    assert "attention" not in unfused.operators


class _Attends(nn.Module):
    def forward(self, query, key, value):
        return nn.functional.scaled_dot_product_attention(query, key, value)


def test_attention_rule_with_unequal_axes():
    """2 heads, 5 queries, 7 keys of size 3, values of size 4: 2 * 5 * 7 * (3 + 4)."""
    counts = count_model(_Attends(), torch.empty(1, 2, 5, 3), torch.empty(1, 2, 7, 3), torch.empty(1, 2, 7, 4))
    assert counts.operators == {"attention": 490}
    assert counts.macs_by_torch == 490


class _Broadcasts(nn.Module):
    def forward(self, x, y):
        return x @ y


def test_matmul_with_a_broadcast_first_operand():
    """[3, 4] times [8, 4, 5]: 8 * 3 * 5 results of 4 products."""
    counts = count_model(_Broadcasts(), torch.empty(3, 4), torch.empty(8, 4, 5))
    assert counts.operators == {"matmul": 480}
    assert counts.macs_by_torch == 480


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        # 16 x 16 results of 8 channels, each of 3 * 3 * 4 / 2 products (two groups).
        (nn.Conv2d(4, 8, 3, padding=1, groups=2), (1, 4, 16, 16), 16 * 16 * 8 * 18),
        # "same" with an even kernel pads one side more; still 16 x 16 results.
        (nn.Conv2d(4, 8, (2, 4), padding="same", dilation=2), (1, 4, 16, 16), 16 * 16 * 8 * 4 * 8),
        (nn.Conv2d(4, 8, 3, padding="valid", stride=2), (1, 4, 17, 17), 8 * 8 * 8 * 36),
        (nn.Conv1d(4, 8, 3), (1, 4, 16), 14 * 8 * 12),
        # Every one of 5 x 5 inputs of 4 channels meets 2 * 2 * 8 weights.
        (nn.ConvTranspose2d(4, 8, 2, stride=2), (1, 4, 5, 5), 25 * 4 * 32),
    ],
)
def test_convolutions_by_hand(layer, shape, macs):
    counts = count_model(layer, torch.empty(shape))
    assert counts.operators == {"conv": macs}
    assert counts.macs_by_torch == macs


def test_chain_adds_up_to_the_whole():
    backbone = create_backbone("test_vit", pretrained=False, num_outputs=7)
    x = backbone.example_input()
    segments, final, features = count_chain(backbone.segments, backbone.final, x)
    whole = count_model(backbone.module, x)
    assert sum(counts.macs for counts in segments) + final.macs == whole.macs
    assert sum(counts.params for counts in segments) + final.params == whole.params
    assert [tuple(tensor.shape) for tensor in features] == [(1, 101, 64)] * len(segments)
    # The stem stands in the first segment only; the classifier in the final part.
    assert segments[0].macs - segments[1].macs == whole.operators["conv"]
    assert final.params == 2 * 64 + 64 * 7 + 7
    # Counting left the model as it was.
    assert next(backbone.module.parameters()).device.type == "cpu"


def test_cost_fields():
    """A head of 64 * 8 + 8 parameters in 2-byte numbers, answering for a batch of 3."""
    counts = count_head(nn.Linear(64, 8), torch.empty(1, 64))
    fields = counts.cost_fields(element_bytes=2, batch_size=3)
    assert fields["macs"] == 512
    assert fields["params"] == 520
    assert fields["weight_bytes"] == 1040
    assert fields["activation_bytes"] == 8 * 2 * 3


def test_integer_buffers_keep_their_size():
    """BatchNorm1d(4): weights, biases, means and variances of 4 in the profile's dtype, and one 8-byte counter."""
    counts = count_head(nn.BatchNorm1d(4).eval(), torch.empty(1, 4))
    assert counts.cost_fields(element_bytes=2)["weight_bytes"] == 16 * 2 + 8
    assert counts.macs == 0
    assert counts.other_ops > 0


def test_attention_without_a_rule_is_an_error(monkeypatch):
    rules = {name: rule for name, rule in engines.RULES.items() if "attention" not in name}
    monkeypatch.setattr(engines, "RULES", rules)
    with pytest.raises(UnsupportedError, match="no rule counts the attention operator aten::scaled_dot_product"):
        count_model(_Attends(), torch.empty(1, 1, 2, 3), torch.empty(1, 1, 2, 3), torch.empty(1, 1, 2, 3))


def test_counters_that_disagree_are_reported(monkeypatch):
    monkeypatch.setitem(engines.RULES, "aten::linear", lambda inputs, outputs: 1)
    counts = count_model(nn.Linear(4, 4), torch.empty(1, 4))
    assert (counts.macs, counts.macs_by_torch) == (1, 16)
    assert not counts.counters_agree


def test_what_cannot_be_traced_is_one_sentence():
    class Chooses(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(UnsupportedError, match="Chooses cannot be counted"):
        count_model(Chooses(), torch.empty(1))
