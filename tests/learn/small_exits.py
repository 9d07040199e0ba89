"""Multi-exit models and outputs of them, small enough to compute by hand or in no time."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from math import log

import torch
from small_data import small_backbone
from torch import Tensor

from exitsearch.learn.recipes.outputs import ExitFacts, ExitOutputs
from exitsearch.models.backbone import Backbone
from exitsearch.models.multi_exit import MultiExitModel, attach_exits
from exitsearch.specs.config import MultiExitConfig

# One of LGViT's kinds each twice, and a head of another paper; strides 2 and 3 as LGViT takes them.
EXITS = (
    (1, "lph", {}),
    (3, "lph", {"depthwise": False}),
    (5, "gah", {"stride": 2}),
    (7, "mlp_ee", {}),
    (9, "gah", {"stride": 3}),
)


def small_config(backbone: Backbone, exits: Sequence = EXITS) -> MultiExitConfig:
    count = len(exits) + 1
    return MultiExitConfig.model_validate(
        {
            "schema_version": 1,
            "backbone": backbone.facts.model_dump(),
            "exits": [{"placement": p, "head": h, "options": o} for p, h, o in exits],
            "policy": "interruptible",
            "budget": "uniform:1,2",
            "expected": {"value": 0.5, "metric": "accuracy", "policy": "interruptible", "split": "choice"},
            "optimum": {"value": 0.5, "exact": True, "regret": 0.0},
            "latency_ms": [1.0] * count,
            "profile": {},
            "outcomes": {},
        }
    )


def small_model(exits: Sequence = EXITS, *, task: str = "classification", seed: int = 0) -> MultiExitModel:
    """In eval mode, untrained."""
    backbone = copy.deepcopy(_backbone(task, seed))
    return attach_exits(backbone, config=small_config(backbone, exits), seed=seed)


@functools.cache
def _backbone(task: str, seed: int) -> Backbone:
    """Cut once for all tests."""
    return small_backbone(task=task, seed=seed)


def small_inputs(count: int = 4) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def facts(
    *,
    placements: tuple[int, ...] = (1,),
    heads: tuple[str, ...] = ("linear",),
    depth: int = 3,
    task: str = "classification",
    **more,
) -> ExitFacts:
    return ExitFacts(task=task, placements=placements, heads=heads, depth=depth, **more)


def weighed(rows: Sequence[Sequence[float]]) -> Tensor:
    """Logits whose softmax is in proportion to the numbers: softmax(log 1, log 4, log 4) = 1/9, 4/9, 4/9."""
    return torch.tensor([[log(number) for number in row] for row in rows], dtype=torch.float64, requires_grad=True)


def hand_outputs(**more) -> ExitOutputs:
    """One exit and the final one, over two inputs and three classes, for the labels 1 and 2.

    The exit's probabilities are (1, 4, 4) / 9 and (1, 1, 4) / 6. Its cross entropies are ln(9/4) = 0.8109302 and
    ln(6/4) = 0.4054651, their mean 0.6081977.

    The final exit's are (16, 4, 4) / 24 and (1, 1, 36) / 38, the cross entropies ln 6 = 1.7917595 and
    ln(38/36) = 0.0540672, their mean 0.9229133.
    """
    return ExitOutputs(
        facts=facts(**more),
        logits=(weighed([[1, 4, 4], [1, 1, 4]]), weighed([[16, 4, 4], [1, 1, 36]])),
    )


HAND_LABELS = torch.tensor([1, 2])
HAND_EXIT = 0.6081977
HAND_FINAL = 0.9229133


def regression_outputs(**more) -> ExitOutputs:
    """One exit and the final one over two inputs, for the targets 2 and 5.

    The exit answers 1 and 3: errors 1 and 2, mean 1.5. The final one answers 2 and 4: errors 0 and 1, mean 0.5. From
    the final one the exit is 1 and 1 away, mean 1.
    """
    return ExitOutputs(
        facts=facts(task="regression", **more),
        logits=(
            torch.tensor([[1.0], [3.0]], dtype=torch.float64, requires_grad=True),
            torch.tensor([[2.0], [4.0]], dtype=torch.float64, requires_grad=True),
        ),
    )


REGRESSION_TARGETS = torch.tensor([2.0, 5.0], dtype=torch.float64)


def numbers(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: term.item() for name, term in terms.items()}
