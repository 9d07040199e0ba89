"""True totals of many models, fused and unfused, by a third counter that shares nothing with the two under test.

The reference below sees the calls of torch's functions (not a traced graph, nor dispatched operators) and counts from
their arguments' shapes: elements of the result times the length of what is summed over.
"""

from __future__ import annotations

from math import prod

import pytest
import timm
import torch
from timm.layers import set_fused_attn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from exitsearch.measure.macs.count import count_model

# Name to input side. One of each kind that the issue tracker or the papers name, and small ones of further kinds.
MODELS = {
    "vit_tiny_patch16_224": 224,
    "vit_base_patch16_384": 384,
    "vit_small_patch14_dinov2": 518,
    "eva02_tiny_patch14_224": 224,
    "beit_base_patch16_224": 224,
    "swin_tiny_patch4_window7_224": 224,
    "levit_256": 224,
    "cait_xxs24_224": 224,
    "pvt_v2_b0": 224,
    "mixer_s32_224": 224,
    "resmlp_12_224": 224,
    "poolformer_s12": 224,
    "convnext_tiny": 224,
    "convnextv2_atto": 224,
    "resnet18": 224,
    "resnet50": 224,
    "resnext50_32x4d": 224,
    "efficientnet_b0": 224,
    "mobilenetv3_small_100": 224,
    "regnety_002": 224,
    "vgg11": 224,
}
# Those with attention that timm can run in both forms.
BOTH_FORMS = [name for name in MODELS if name.startswith(("vit_", "eva02", "beit_", "swin_"))]

_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)
_PRODUCTS = (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm, torch.mm, torch.Tensor.bmm)


class _Reference(TorchFunctionMode):
    """Counts multiply-accumulates of the functions that have any."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is functional.linear:
            self.macs += result.numel() * args[0].shape[-1]
        elif func in _CONVOLUTIONS:
            # Each result sums over one group's channels and the kernel: a weight's axes after the first.
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            self.macs += result.numel() * prod(weight.shape[1:])
        elif func in _PRODUCTS:
            self.macs += result.numel() * args[0].shape[-1]
        elif func is functional.scaled_dot_product_attention:
            query, key, value = args[:3]
            pairs = query.shape[:-1].numel() * key.shape[-2]
            self.macs += pairs * (query.shape[-1] + value.shape[-1])
        elif func is torch.einsum:
            terms = args[0].replace(" ", "").partition("->")[0].split(",")
            sizes = {
                letter: size
                for term, x in zip(terms, args[1:], strict=True)
                for letter, size in zip(term, x.shape, strict=True)
            }
            self.macs += prod(sizes.values())
        return result


def both_counts(name, *, fused):
    """MACs by the two counters under test, and by the reference."""
    set_fused_attn(fused)
    try:
        with torch.device("meta"):
            module = timm.create_model(name).eval()
    finally:
        set_fused_attn(True)
    x = torch.empty(1, 3, MODELS[name], MODELS[name], device="meta")
    counts = count_model(module, x)
    with torch.no_grad(), _Reference() as reference:
        module(x)
    return counts, reference.macs


def test_there_are_enough_models():
    assert len(MODELS) >= 20
    assert len(BOTH_FORMS) >= 6


@pytest.mark.parametrize("name", MODELS)
def test_totals(name):
    counts, reference = both_counts(name, fused=True)
    assert counts.macs == pytest.approx(reference, rel=1e-3)
    assert counts.counters_agree


@pytest.mark.parametrize("name", BOTH_FORMS)
def test_totals_of_unfused_attention(name):
    counts, reference = both_counts(name, fused=False)
    assert counts.macs == pytest.approx(reference, rel=1e-3)
    assert counts.counters_agree
    assert "attention" not in counts.operators
