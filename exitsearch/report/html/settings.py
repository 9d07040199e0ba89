"""The settings that a search over knobs tried, as a table of a page."""

from __future__ import annotations

from exitsearch.report.html.page import Cell, Column, Table
from exitsearch.search.result import SettingRow, SettingsResult


def settings_table(found: SettingsResult) -> Table:
    """One row a setting, the best first and the impossible and failed last."""
    order = sorted(found.rows, key=lambda row: (row.state != "tried", row.value is None, -(row.value or 0.0)))
    names = list(found.knobs.values)
    return Table(
        title="The settings that were tried",
        columns=[
            *(Column(name) for name in names),
            Column("full ms", ".4g", "latency of the full model, of one batch"),
            Column("exits", "d"),
            Column("expected value", ".4f"),
            Column("verdict", tells="on the times of its profile"),
            Column("state"),
            Column("reason"),
        ],
        rows=[_row(found, row) for row in order],
        marked=[number for number, row in enumerate(order) if row.setting == found.setting],
    )


def _row(found: SettingsResult, row: SettingRow) -> list[Cell]:
    values = found.knobs.parameters(row.setting)
    return [
        *(str(values.get(name, "")).lower() for name in found.knobs.values),
        row.full_ms,
        row.exits,
        row.value,
        row.verdict or "",
        "given up" if row.state == "pruned" else row.state,
        row.reason or "",
    ]
