"""lgvit: LGViT's second stage."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from small_exits import (
    HAND_LABELS,
    REGRESSION_TARGETS,
    hand_outputs,
    numbers,
    regression_outputs,
    small_config,
    small_inputs,
    small_model,
    weighed,
)
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor

from exitsearch.errors import InputError
from exitsearch.learn.recipes.losses import LOSSES
from exitsearch.learn.recipes.losses.lgvit import heterogeneous_terms, homogeneous_terms, lgvit
from exitsearch.learn.recipes.outputs import ExitOutputs, exit_outputs
from exitsearch.models.backbone import create_backbone
from exitsearch.models.multi_exit import attach_exits


def with_features(
    heads: tuple[str, ...],
    bodies: tuple[Tensor | None, ...],
    final: Tensor,
    *,
    strides: tuple[int, ...] | None = None,
    grid: tuple[int, int] = (1, 1),
) -> ExitOutputs:
    found = hand_outputs(
        heads=heads, placements=tuple(range(len(heads))), strides=strides or (1,) * len(heads), grid=grid
    )
    logits = (*[found.logits[0]] * len(heads), found.logits[1])
    return dataclasses.replace(found, logits=logits, bodies=bodies, final_tokens=final)


def test_labels_and_teacher() -> None:
    """Labels: 0.7 x 0.6081977 = 0.4257384; the final exit has no term.

    Teacher: the KL of both inputs at T = 2 is 0.3539556 (worked out in test_distill_loss.py); times 4, over 2 inputs x
    3 classes, is 0.2359704; by 0.3: 0.0707911.
    """
    outputs = with_features(("linear",), (None,), torch.zeros(2, 1, 3))
    found = numbers(lgvit(outputs, HAND_LABELS, None, 0))
    assert found == pytest.approx({"labels": 0.4257384, "teacher": 0.0707911}, abs=1e-6)


def test_heterogeneous() -> None:
    """KL over three channels of the final token from the body's, per input.

    Body (1, 4, 4) / 9, final (16, 4, 4) / 24: 2/3 ln 6 + 1/3 ln(3/8) = 0.8675632. Body (1, 1, 4) / 6, final
    (1, 1, 36) / 38: 2/38 ln(6/38) + 36/38 ln(54/38) = 0.2357546. Over a batch of 2: 0.5516589; by 0.01: 0.0055166.
    """
    body, final = weighed([[1, 4, 4], [1, 1, 4]])[:, None], weighed([[16, 4, 4], [1, 1, 36]])[:, None]
    outputs = with_features(("lph",), (body,), final)
    assert numbers(lgvit(outputs, HAND_LABELS, None, 0))["heterogeneous"] == pytest.approx(0.0055166, abs=1e-7)
    # First and last of each kind: of four, the middle ones do not count, and a kind's only one counts once.
    other = torch.full_like(body, 7.0)
    many = with_features(("lph", "lph", "lph", "gah", "mlp_ee"), (body, other, body, body, None), final)
    assert [term.item() for term in heterogeneous_terms(many)] == pytest.approx([0.5516589] * 3, abs=1e-6)


def test_the_final_tokens_are_thinned_by_a_heads_stride() -> None:
    # On a grid of 3 x 3 a stride of 2 keeps the cells 0, 2, 6 and 8: a body of just those is no distance away.
    final = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0))
    outputs = with_features(("gah",), (final[:, [0, 2, 6, 8]],), final, strides=(2,), grid=(3, 3))
    assert [term.item() for term in heterogeneous_terms(outputs)] == pytest.approx([0], abs=1e-6)
    shifted = dataclasses.replace(outputs, bodies=(final[:, [1, 2, 6, 8]],))
    assert heterogeneous_terms(shifted)[0].item() > 0.01


def test_homogeneous_of_local_heads() -> None:
    # Differences of the six numbers from the last body's: 0, 2, 0, 0, 0, 2; mean square 8 / 6 = 1.3333333; by 0.01.
    first, last = torch.tensor([[1.0, 2, 3], [4, 5, 6]])[:, None], torch.tensor([[1.0, 0, 3], [4, 5, 4]])[:, None]
    outputs = with_features(("lph", "lph"), (first, last), torch.zeros(2, 1, 3))
    assert numbers(lgvit(outputs, HAND_LABELS, None, 0))["homogeneous"] == pytest.approx(0.013333333)


def test_homogeneous_of_global_heads_compares_gram_matrices() -> None:
    """Two tokens of three channels, and three tokens: channels x channels in any case.

    Tokens (1, 0, 0) and (0, 1, 0) give the Gram matrix diag(1, 1, 0); (1, 0, 0), (0, 0, 2) and (0, 0, 0) give
    diag(1, 0, 4). Squared differences 0, 1 and 16 among nine numbers: 17 / 9 = 1.8888889.
    """
    first = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    last = torch.tensor([[[1.0, 0, 0], [0, 0, 2], [0, 0, 0]]])
    outputs = with_features(("gah", "gah"), (first, last), torch.zeros(1, 1, 3))
    assert [term.item() for term in homogeneous_terms(outputs)] == pytest.approx([1.8888889])


def test_neither_side_of_a_feature_term_is_detached() -> None:
    first, last, final = (torch.randn(2, 1, 3, requires_grad=True) for _ in range(3))
    outputs = with_features(("lph", "lph"), (first, last), final)
    homogeneous_terms(outputs)[0].backward()
    assert torch.equal(first.grad, -last.grad)
    assert first.grad.abs().sum() > 0
    heterogeneous_terms(outputs)[0].backward()
    assert final.grad.abs().sum() > 0


def test_bodies_of_other_sizes_are_not_compared() -> None:
    """As in a Swin, whose stages differ in grid and channels: the last `lph` of each size is the one to match."""
    small = [torch.randn(2, 1, 6) for _ in range(2)]
    large = [torch.randn(2, 4, 3) for _ in range(2)]
    outputs = with_features(("lph",) * 4, (*large, *small), torch.randn(2, 1, 6))
    assert len(homogeneous_terms(outputs)) == 2
    assert len(heterogeneous_terms(outputs)) == 1  # the last alone; the first is of another size


def test_without_such_heads_there_are_no_feature_terms() -> None:
    outputs = with_features(("linear", "mlp_ee"), (torch.ones(2, 3), None), torch.zeros(2, 1, 3))
    assert set(lgvit(outputs, HAND_LABELS, None, 0)) == {"labels", "teacher"}


def test_regression() -> None:
    # Error to the targets 1.5, to the final exit's answers 1: 0.7 x 1.5 and 0.3 x 1.
    outputs = dataclasses.replace(
        regression_outputs(strides=(1,), grid=(1, 1)), bodies=(None,), final_tokens=torch.zeros(2, 1, 3)
    )
    assert numbers(lgvit(outputs, REGRESSION_TARGETS, None, 0)) == pytest.approx({"labels": 1.05, "teacher": 0.3})


@pytest.mark.parametrize("option", ["share", "temperature", "heterogeneous", "homogeneous"])
def test_options_out_of_range(option: str) -> None:
    outputs = with_features(("linear",), (None,), torch.zeros(2, 1, 3))
    with pytest.raises(InputError, match="found -1 in the options of the loss lgvit"):
        lgvit(outputs, HAND_LABELS, None, 0, **{option: -1})


def test_a_step_leaves_the_backbone_bit_for_bit() -> None:
    """Weights and buffers of a frozen backbone, and the teacher in it, while every head moves."""
    model = small_model()
    before = copy.deepcopy(model.state_dict())
    model.train()
    model.backbone.eval().requires_grad_(requires_grad=False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.1)
    for step in range(2):
        outputs = exit_outputs(model, small_inputs(), needs=LOSSES["lgvit"].needs)
        terms = lgvit(outputs, torch.tensor([0, 1, 2, 3]), None, step)
        assert set(terms) == {"labels", "teacher", "heterogeneous", "homogeneous"}
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
    for name, tensor in model.backbone.state_dict().items():
        assert torch.equal(tensor, before[f"backbone.{name}"]), name
    for head in range(len(model.heads)):
        own = [name for name in before if name.startswith(f"heads.{head}.")]
        assert any(not torch.equal(model.state_dict()[name], before[name]) for name in own)


def test_a_swin_compares_stage_by_stage() -> None:
    """Its stages differ in grid and channels: what cannot be compared has no term, everything else learns."""
    swin = SwinTransformer(
        img_size=32, patch_size=2, window_size=4, embed_dim=16, depths=(3, 3), num_heads=(2, 2), num_classes=10
    )
    backbone = create_backbone(swin, example_input=torch.zeros(1, 3, 32, 32))
    exits = ((0, "lph", {}), (1, "lph", {}), (3, "gah", {}), (4, "gah", {}))
    model = attach_exits(backbone, config=small_config(backbone, exits))
    outputs = exit_outputs(model, torch.randn(2, 3, 32, 32), needs=LOSSES["lgvit"].needs)
    # The pair of each kind is of one stage. Against the final tokens: the last stage's `gah` alone, first and last.
    assert len(homogeneous_terms(outputs)) == 2
    assert len(heterogeneous_terms(outputs)) == 2
    terms = lgvit(outputs, torch.tensor([0, 1]), None, 0)
    assert set(terms) == {"labels", "teacher", "heterogeneous", "homogeneous"}
    sum(terms.values()).backward()
    assert all(weight.grad is not None for weight in model.heads.parameters())
