"""Closed-form probes for people and for `--json`."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from exitsearch.pipeline.probe import Probes


def probes_table(found: Probes) -> Table:
    """One row a placement."""
    table = Table(
        title=f"{found.metric} of a closed-form linear probe ({found.method}) of every placement of {found.backbone} "
        f"on the choice split of {found.data} ({found.samples} samples)",
        title_justify="left",
    )
    table.add_column("placement", justify="right", overflow="fold")
    table.add_column("module", overflow="fold")
    table.add_column(found.metric, justify="right", overflow="fold")
    for probe in found.scores:
        if probe.placement is None:
            table.add_section()
        table.add_row("final" if probe.placement is None else str(probe.placement), probe.module, f"{probe.score:.4f}")
    return table


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
