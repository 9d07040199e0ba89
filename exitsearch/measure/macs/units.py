"""Counts of a backbone and its candidate heads, each structure once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch

from exitsearch.measure.macs import count
from exitsearch.measure.macs.structure import structure
from exitsearch.measure.runtimes.base import UnitKey
from exitsearch.measure.timing.latency import Progress
from exitsearch.models.backbone import Backbone
from exitsearch.models.heads import create_head
from exitsearch.specs.profile import Scalar

# ("segment", k), ("final", 0), or (placement, head).
CountKey = tuple[Any, Any]


def count_units(backbone: Backbone, keys: Sequence[UnitKey], progress: Progress) -> dict[CountKey, count.Counts]:
    """Counts by ("segment", k), ("final", 0) and (placement, head), for one input.

    Args:
        backbone: on any device, the meta device included.
        keys: which exit heads, where.
        progress: called with 0 and what is being counted.

    Raises:
        UnsupportedError: a unit cannot be counted.
    """
    x = torch.empty((1, *backbone.input_size), device="meta", dtype=next(backbone.module.parameters()).dtype)
    progress(0.0, "counting operations of the backbone")
    segments, final, features = count.count_chain(backbone.segments, backbone.final, x)
    counted: dict[CountKey, count.Counts] = {("segment", index): counts for index, counts in enumerate(segments)}
    counted["final", 0] = final
    known: dict[Hashable, count.Counts] = {}
    for placement, text in keys:
        progress(0.0, f"counting operations of the heads at placement {placement}")
        head = create_head(
            text, placement=backbone.placements[placement], num_outputs=backbone.num_outputs, device="meta"
        )
        head.eval().to(x.dtype)
        read = [torch.empty((1, *size), device="meta", dtype=x.dtype) for size in head.reads.values()]
        key = structure(head, features[placement])
        if key not in known:
            known[key] = count.count_head(head, features[placement], side=read)
        counted[placement, text] = known[key]
    return counted


def count_facts(counted: Mapping[CountKey, count.Counts]) -> dict[str, Scalar]:
    """What the counters say of themselves, for the profile's `protocol`."""
    apart = [key for key, counts in counted.items() if not counts.counters_agree]
    missing: dict[str, int] = {}
    for key, counts in counted.items():
        if key[0] in ("segment", "final"):
            for operator, times in counts.not_counted.items():
                missing[operator] = missing.get(operator, 0) + times
    names = ", ".join(f"{name} x{times}" for name, times in sorted(missing.items()))
    return {
        "macs_counter": "fvcore, checked against torch.utils.flop_counter",
        "macs_disagreement": ", ".join(f"{where} {what}" for where, what in apart) or None,
        "not_counted": names or None,
    }
