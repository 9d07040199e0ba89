"""Calibration for people and for `--json`: how far the confidence of every exit can be believed."""

from __future__ import annotations

from typing import Any

from exitsearch.report.terminal.layout import Rows, rows_table
from exitsearch.specs.outcomes import Outcomes


def calibration_rows(outcomes: Outcomes) -> list[dict[str, Any]]:
    """One row an exit in order, last the final one, whose placement is None; exits without calibration are left out."""
    exits = [(head.placement, head.head, head.calibration) for head in outcomes.heads]
    return [
        {"placement": placement, "head": head, **found.model_dump()}
        for placement, head, found in [*exits, (None, "final", outcomes.final.calibration)]
        if found is not None
    ]


def calibration_table(outcomes: Outcomes) -> Rows:
    """One row an exit: its temperature, and on the split that it is judged on its calibration errors and its AUROC."""
    split = outcomes.report_split or outcomes.choice_split
    found = calibration_rows(outcomes)
    fitted_on = found[0]["fitted_on"] if found else outcomes.choice_split
    rows = []
    for one in found:
        auroc = one["auroc"][split]
        rows.append(
            {
                "exit": one["head"] if one["placement"] is None else f"{one['placement']} {one['head']}",
                "temperature": f"{one['temperature']:.3f}",
                "ECE at 1": f"{one['raw_ece'][split]:.4f}",
                "ECE": f"{one['ece'][split]:.4f}",
                "AUROC": "" if auroc is None else f"{auroc:.4f}",
            }
        )
    title = (
        f"confidence of every exit over {outcomes.backbone.name}: temperature fitted on {fitted_on}; expected "
        f"calibration error without and with it, and AUROC of right against wrong answers, on {split}"
    )
    return rows_table(title, rows)
