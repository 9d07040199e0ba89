"""What a training by a recipe will take, as a table and for `--json`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from exitsearch.report.terminal.durations import duration, size
from exitsearch.report.terminal.estimate import estimate_summary
from exitsearch.report.terminal.layout import Rows, rows_table

if TYPE_CHECKING:
    from exitsearch.learn.engine.estimate import ModelEstimate, StageEstimate


def training_table(found: ModelEstimate) -> Rows:
    """A row for the heads that are trained first, one for every stage, and one for all of it."""
    rows = []
    if found.heads is not None:
        first = found.heads
        rows.append(
            {
                "what": "heads first" if found.stages else "heads",
                "trains": f"{first.heads} heads, {first.parameters:,} parameters",
                "steps": f"{first.epochs} x {first.steps:,}",
                "a step": duration(first.step_seconds),
                "an epoch": duration(first.epoch_seconds),
                "in all": duration(first.total_seconds),
                "disk": size(first.checkpoint_bytes + first.answer_bytes),
            }
        )
    rows += [_row(stage) for stage in found.stages]
    held = found.memory_bytes if found.stages else found.heads.memory_bytes if found.heads is not None else None
    total = dict.fromkeys(rows[0], "") | {
        "what": "in all",
        "steps": f"{found.steps:,}" if found.stages else "",
        "a step": "" if held is None else f"memory {size(held)}",
        "in all": duration(found.total_seconds),
        "disk": f"{size(found.model_bytes)} at the end",
    }
    return rows_table(f"What training by {found.recipe} will take", [*rows, total])


def _row(stage: StageEstimate) -> dict[str, Any]:
    runs = f"{stage.exits} x " if stage.exits > 1 else ""
    return {
        "what": stage.name,
        "trains": f"{stage.trains}, {stage.parameters:,} parameters",
        "steps": f"{runs}{stage.epochs} x {stage.steps:,} of {stage.batch_size} inputs",
        "a step": f"{duration(stage.step_seconds)}, its loading {duration(stage.loading_seconds)}",
        "an epoch": duration(stage.epoch_seconds),
        "in all": duration(stage.total_seconds),
        "disk": size(stage.checkpoint_bytes),
    }


def training_summary(found: ModelEstimate) -> dict[str, Any]:
    """The same in numbers."""
    stages = [
        asdict(stage) | {"epoch_seconds": stage.epoch_seconds, "total_seconds": stage.total_seconds}
        for stage in found.stages
    ]
    return {
        "recipe": found.recipe,
        "heads": None if found.heads is None else estimate_summary(found.heads),
        "stages": stages,
        "steps": found.steps,
        "total_seconds": found.total_seconds,
        "model_bytes": found.model_bytes,
        "memory_bytes": found.memory_bytes,
    }
