"""Closed-form probes for people and for `--json`."""

from __future__ import annotations

from typing import Any

from exitsearch.pipeline.probe import Probes
from exitsearch.report.terminal.layout import Rows, rows_table


def probes_table(found: Probes) -> Rows:
    """One row a placement."""
    title = (
        f"{found.metric} of a closed-form linear probe ({found.method}) of every placement of {found.backbone} "
        f"on the choice split of {found.data} ({found.samples} samples)"
    )
    rows = [
        {
            "placement": "final" if probe.placement is None else str(probe.placement),
            "module": probe.module,
            found.metric: f"{probe.score:.4f}",
        }
        for probe in found.scores
    ]
    return rows_table(title, rows)


def probes_summary(found: Probes) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "backbone": found.backbone,
        "data": found.data,
        "metric": found.metric,
        "method": found.method,
        "split": "choice",
        "samples": found.samples,
        "probes": [vars(probe) for probe in found.scores],
    }
