"""A small multi-exit model, its data, and a recipe that uses everything that a kill could leave a trace in."""

from __future__ import annotations

from typing import Any

from small_data import small_backbone

from exitsearch.learn.recipes.recipe import Recipe, Stage
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
