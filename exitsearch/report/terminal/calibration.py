"""Calibration for people and for `--json`: how far the confidence of every exit can be believed."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from exitsearch.specs.outcomes import Outcomes


def calibration_rows(outcomes: Outcomes) -> list[dict[str, Any]]:
    """One row an exit in order, last the final one, whose placement is None; exits without calibration are left out."""
    exits = [(head.placement, head.head, head.calibration) for head in outcomes.heads]
    return [
        {"placement": placement, "head": head, **found.model_dump()}
        for placement, head, found in [*exits, (None, "final", outcomes.final.calibration)]
        if found is not None
    ]


def calibration_table(outcomes: Outcomes) -> Table:
    """One row an exit: its temperature, and on the split that it is judged on its calibration errors and its AUROC."""
    split = outcomes.report_split or outcomes.choice_split
    rows = calibration_rows(outcomes)
    fitted_on = rows[0]["fitted_on"] if rows else outcomes.choice_split
    table = Table(
        title=f"confidence of every exit over {outcomes.backbone.name}: temperature fitted on {fitted_on}; expected "
        f"calibration error without and with it, and AUROC of right against wrong answers, on {split}",
        title_justify="left",
    )
    table.add_column("exit", overflow="fold")
    for name in ("temperature", "ECE at 1", "ECE", "AUROC"):
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        auroc = row["auroc"][split]
        table.add_row(
            row["head"] if row["placement"] is None else f"{row['placement']} {row['head']}",
            f"{row['temperature']:.3f}",
            f"{row['raw_ece'][split]:.4f}",
            f"{row['ece'][split]:.4f}",
            "" if auroc is None else f"{auroc:.4f}",
        )
    return table
