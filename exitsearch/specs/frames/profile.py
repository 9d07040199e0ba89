"""Profile as a table: a row for every unit and batch size; in short, one for every placement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from exitsearch.specs.frames.columns import FINAL, MODULE
from exitsearch.specs.frames.frame import Cell, Column, Frame, counted

if TYPE_CHECKING:
    from exitsearch.specs.cost import Cost
    from exitsearch.specs.profile import Profile

_COLUMNS = {
    "batch_size": Column("inputs of the batch that times, energies and activations are for; missing: unknown", "whole"),
    "part": Column(
        "segment (from the placement before, or the input, to this one), head, final (from the last placement to the "
        "backbone's outputs) or whole (the plain backbone, the yardstick)",
        "text",
    ),
    "placement": Column("number of the placement, from 0; missing for final and whole", "whole"),
    "module": Column(MODULE.meaning, "text"),
    "head": Column("head type, with its options where they differ from the defaults; only of heads", "text"),
    "macs": Column("multiply-accumulates of one input (1 MAC = 2 FLOPs)", "whole"),
    "params": Column("parameters", "whole"),
    "weight_bytes": Column("bytes of parameters and buffers", "whole"),
    "activation_bytes": Column("bytes of the features handed on, for one batch", "whole"),
    "scratch_bytes": Column("bytes allocated at most while it runs, for one batch", "whole"),
    "latency_ms": Column("median time of one batch, in ms"),
    "low_ms": Column("lower end of the median's 95% interval, in ms"),
    "high_ms": Column("upper end of it, in ms"),
    "samples": Column("how often it was timed", "whole"),
    "resume_ms": Column("how much longer the part takes right after a head, in ms"),
    "arrives_ms": Column("when a pass that runs no other head has done with it, in ms from the input"),
    "device_ms": Column("median on the device's own clock, in ms"),
    "energy_mj": Column("energy of one batch, idle power included, in mJ"),
}


def _title(profile: Profile) -> str:
    parts = f"{counted(len(profile.segments), 'placement')}, {counted(len(profile.heads), 'head')}"
    return f"profile {profile.condition()}: {parts}, verdict {profile.verdict.status}"


def _rows(profile: Profile) -> Iterator[tuple[Cell, ...]]:
    for size in profile.batch_sizes:
        yield from _of_batch(profile.at_batch(size), size)


def _of_batch(profile: Profile, size: int | None) -> Iterator[tuple[Cell, ...]]:
    arrival = [float(ms) for ms in profile.arrival_ms] if profile.is_timed else []
    for segment in profile.segments:
        at = arrival[segment.placement] if arrival else None
        yield _unit(size, "segment", segment.placement, segment.module, None, segment, segment.resume_ms, at)
    modules = {segment.placement: segment.module for segment in profile.segments}
    for head in profile.heads:
        at = arrival[head.placement] + (head.latency_ms or 0.0) if arrival else None
        yield _unit(size, "head", head.placement, modules[head.placement], head.head, head, None, at)
    full = profile.full_ms if profile.is_timed else None
    yield _unit(size, FINAL, None, None, None, profile.final, profile.final.resume_ms, full)
    if profile.whole is not None:
        yield _unit(size, "whole", None, None, None, profile.whole, None, profile.whole.latency_ms)


def _unit(
    size: int | None,
    part: str,
    placement: int | None,
    module: str | None,
    head: str | None,
    cost: Cost,
    resume_ms: float | None,
    arrives_ms: float | None,
) -> tuple[Cell, ...]:
    low, high = cost.interval_ms or (None, None)
    counts = (cost.macs, cost.params, cost.weight_bytes, cost.activation_bytes, cost.scratch_bytes)
    times = (cost.latency_ms, low, high, len(cost.samples_ms), resume_ms, arrives_ms, cost.device_ms, cost.energy_mj)
    return (size, part, placement, module, head, *counts, *times)


def _placements(profile: Profile) -> Iterator[tuple[Cell, ...]]:
    timed, spent = profile.is_timed, 0.0
    for segment in [*profile.segments, None]:
        cost = profile.final if segment is None else segment
        spent += cost.latency_ms or 0.0
        here = [] if segment is None else [head for head in profile.heads if head.placement == segment.placement]
        yield (
            FINAL if segment is None else str(segment.placement),
            segment.module if segment else None,
            None if cost.macs is None else cost.macs / 1e9,
            cost.params,
            cost.latency_ms,
            spent if timed else None,
            spent / profile.full_ms if timed and profile.full_ms else None,
            len(here),
        )


def _notes(profile: Profile) -> list[str]:
    found = [f"{reason.what}: {reason.number:g}; {reason.remedy}" for reason in profile.verdict.reasons]
    if profile.batches:
        found.append(f"Batch sizes {', '.join(map(str, profile.batch_sizes))}; the first is shown.")
    return found


PROFILE = Frame(
    title=_title,
    columns=_COLUMNS,
    rows=_rows,
    brief=Frame(
        title=_title,
        columns={
            "placement": Column("number of the placement, or final", "text"),
            "module": MODULE,
            "GMACs": Column("billions of multiply-accumulates of the segment, for one input"),
            "params": Column("parameters of the segment", "whole"),
            "ms": Column("median time of the segment, in ms of one batch"),
            "arrives ms": Column("from the input to here without any head, in ms"),
            "share": Column("of the full model's time"),
            "heads": Column("how many were measured here", "whole"),
        },
        rows=_placements,
        notes=_notes,
    ),
)
