"""A small multi-exit model, its data, and a recipe that uses everything that a kill could leave a trace in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from small_data import small_backbone
from torch import Tensor, nn

from exitsearch.learn.data import DataSplits, TensorsSplit
from exitsearch.learn.engine.train import TrainedModel, train_model
from exitsearch.learn.recipes.recipe import Recipe, Stage
from exitsearch.models.backbone import create_backbone
from exitsearch.models.multi_exit import MultiExitModel, attach_exits
from exitsearch.specs.config import MultiExitConfig

EXITS = [(1, "mlp_ee"), (4, "linear")]  # one with dropout, one without

# Two stages, the second over the frozen backbone; dropout, mixing, an average of the weights, clipping, a warm-up.
TWO_STAGES = Recipe(
    name="two",
    description="",
    source="own",
    stages=(
        Stage(
            name="all",
            loss="joint",
            trains="all",
            epochs=2,
            batch_size=10,
            learning_rate=1e-3,
            weight_decay=0.05,
            warmup_epochs=0.5,
            clip_grad=1.0,
            ema=0.9,
            mixup=0.4,
        ),
        Stage(
            name="heads",
            loss="distill",
            teacher="final",
            epochs=1,
            batch_size=10,
            learning_rate=1e-3,
            schedule="constant",
            augment=("flip",),
            label_smoothing=0.1,
        ),
    ),
)


def small_config(*, task: str = "classification") -> MultiExitConfig:
    regression = task == "regression"
    return MultiExitConfig.model_validate(
        {
            "schema_version": 1,
            "backbone": {
                "name": "vit_digits_patch1_8",
                "input_size": (1, 8, 8),
                "num_outputs": 1 if regression else 10,
                "task": task,
            },
            "exits": [{"placement": placement, "head": head} for placement, head in EXITS],
            "policy": "interruptible",
            "budget": "uniform:1,4",
            "expected": {
                "value": 0.5,
                "metric": "mae" if regression else "accuracy",
                "policy": "interruptible",
                "split": "choice",
            },
            "optimum": {"value": 0.5, "exact": True, "regret": 0.0},
            "latency_ms": [1.0, 2.0, 3.0],
            "profile": {},
            "outcomes": {},
        }
    )


def small_model(*, task: str = "classification") -> MultiExitModel:
    return attach_exits(small_backbone(task=task), config=small_config(task=task))


def stage(name: str = "all", **changes: Any) -> Stage:
    """A stage of one epoch over batches of ten, with some attributes changed."""
    given = {"loss": "joint", "trains": "all", "epochs": 1, "batch_size": 10, "learning_rate": 1e-3, **changes}
    return Stage(name=name, **given)


def recipe(*stages: Stage, **changes: Any) -> Recipe:
    """A recipe of one's own."""
    return Recipe(name="own", description="", source="own", stages=stages, **changes)


class TinyNet(nn.Module):
    """Three blocks with batch norms and a dropout: what must stand still when it does not train."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(1 if first else 6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
                for first in (True, False, False)
            )
        )
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(6, outputs)

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.head(self.drop(self.blocks(x).mean((2, 3))))
        return answers


def tiny_model(*, task: str = "classification", seed: int = 0, heads: tuple[str, ...] = ("linear", "linear")):
    """A multi-exit model over `TinyNet`, quick enough to be trained by the hundred."""
    torch.manual_seed(seed)
    outputs = 1 if task == "regression" else 4
    backbone = create_backbone(
        TinyNet(outputs),
        placements=["blocks.0", "blocks.1", "blocks.2"],
        example_input=torch.zeros(1, 1, 8, 8),
        task=task,
    )
    if task == "regression":
        backbone.final_is_trained = False  # its targets lie far from what it answers
    facts = {"name": "TinyNet", "input_size": (1, 8, 8), "num_outputs": outputs, "task": task}
    given = small_config(task=task).model_dump()
    given |= {
        "backbone": facts,
        "exits": [{"placement": placement, "head": head} for placement, head in enumerate(heads)],
        "latency_ms": [float(number + 1) for number in range(len(heads) + 1)],
    }
    return attach_exits(backbone, config=MultiExitConfig.model_validate(given), seed=seed)


def tiny_data(*, task: str = "classification", count: int = 48) -> DataSplits:
    """Images whose quadrant of light says their class, or whose sum of light is their target (around 500)."""
    splits = {}
    for number, name in enumerate(("heads", "choice", "report")):
        generator = torch.Generator().manual_seed(number)
        labels = torch.arange(count) % 4
        images = 0.3 * torch.randn(count, 1, 8, 8, generator=generator)
        for sample, label in enumerate(labels.tolist()):
            row, column = 4 * (label // 2), 4 * (label % 2)
            images[sample, :, row : row + 4, column : column + 4] += 1 + label
        targets = 500 + 40 * images.mean((1, 2, 3)) if task == "regression" else labels
        splits[name] = TensorsSplit(images, targets, prepare=lambda raw: raw)
    return DataSplits("tiny", f"{count}", task, 1 if task == "regression" else 4, **splits)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def train(
    out: Path, data: DataSplits, *stages: Stage, model: MultiExitModel | None = None, **given: Any
) -> TrainedModel:
    """Train a tiny model by some stages."""
    model = model or tiny_model()
    changes = {name: given.pop(name) for name in ("heads", "adapter_rank") if name in given}
    return train_model(model, data, recipe=recipe(*stages, **changes), out=out, **given)
