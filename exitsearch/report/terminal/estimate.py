"""What a training will take, as a table and for `--json`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from exitsearch.report.terminal.durations import duration, size
from exitsearch.report.terminal.layout import Rows, rows_table

if TYPE_CHECKING:
    from exitsearch.learn.estimate import Estimate


def estimate_table(found: Estimate) -> Rows:
    """A row for each thing that it takes."""
    samples = ", ".join(f"{name} {count:,}" for name, count in found.samples.items())
    reading = f"{found.workers} that read" if found.workers else "none that reads"
    beside = "while it trains" if found.overlaps else "between steps"
    other = "" if found.other_bytes is None else f", activations and the rest {size(found.other_bytes)}"
    rows = {
        "heads": f"{found.heads:,} at {found.placements} placements, {found.parameters:,} parameters",
        "samples": samples,
        "step": f"{duration(found.step_seconds)} for {found.batch_size} inputs; their loading "
        f"{duration(found.loading_seconds)}, {beside}",
        "epoch": f"{duration(found.epoch_seconds)} ({found.steps:,} steps)",
        "in all": f"{duration(found.total_seconds)} ({found.epochs} epochs at most, answers "
        f"{duration(found.answers_seconds)})",
        "memory": f"{size(found.memory_bytes)}: backbone {size(found.backbone_bytes)}, heads "
        f"{size(found.weight_bytes)}, gradients {size(found.gradient_bytes)}, moments "
        f"{size(found.moment_bytes)}{other}",
        "disk": f"checkpoint {size(found.checkpoint_bytes)}, weights {size(found.weight_bytes)}, answers "
        f"{size(found.answer_bytes)}",
        "processes": f"1 that trains, {reading}",
    }
    return rows_table("What it will take", [{"what": key, "found": value} for key, value in rows.items()])


def estimate_summary(found: Estimate) -> dict[str, Any]:
    """The same in numbers."""
    times = ("steps", "epoch_seconds", "answers_seconds", "total_seconds")
    sizes = ("gradient_bytes", "moment_bytes", "memory_bytes", "checkpoint_bytes", "answer_bytes")
    return asdict(found) | {name: getattr(found, name) for name in (*times, *sizes)}
