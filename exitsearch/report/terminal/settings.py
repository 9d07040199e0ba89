"""What a search over settings found, as a table and sentences."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType

from exitsearch.report.terminal.layout import rows_table
from exitsearch.search.result import SettingsResult


def setting_rows(found: SettingsResult) -> list[dict[str, Any]]:
    """One row a setting that was tried, the best first and the impossible and failed last."""
    order = sorted(found.rows, key=lambda row: (row.state != "tried", row.value is None, -(row.value or 0.0)))
    rows = []
    for row in order:
        values = found.knobs.parameters(row.setting)
        cells: dict[str, Any] = {name: str(value).lower() for name, value in values.items()}
        cells["full ms"] = "" if row.full_ms is None else f"{row.full_ms:.4g}"
        if "batch_size" in values:
            cells["ms per input"] = "" if row.full_ms is None else f"{row.full_ms / row.setting.batch_size:.4g}"
        cells["exits"] = "" if row.exits is None else str(row.exits)
        cells["value"] = "" if row.value is None else f"{row.value:.4f}"
        cells["times"] = row.verdict or ""
        cells["state"] = "given up" if row.state == "pruned" else row.state
        rows.append(cells)
    return rows


def lines(found: SettingsResult) -> list[str]:
    """The findings about settings in sentences."""
    done, pruned, impossible, failed = (found.count(state) for state in ("tried", "pruned", "impossible", "failed"))
    sentences = [f"Setting: {found.setting}."]
    without = f", {impossible} of them not possible here" if impossible else ""
    if found.proved:
        sentences.append(f"All {found.settings} settings were tried{without}: the optimum is proved over all of them.")
    else:
        left = found.settings - done - pruned - impossible - failed
        others = {"given up early": pruned, "not possible here": impossible, "failed": failed, "not tried": left}
        words = ", ".join(f"{count} {what}" for what, count in others.items() if count)
        exact = "Optimum proved" if found.result.config.optimum.exact else "Best choice, not proved,"
        sentences.append(
            f"{exact} within the {done} of {found.settings} settings tried to the end{f' ({words})' if words else ''}."
        )
    if found.gained > 0:
        sentences.append(f"Heads of several settings side by side are worth {found.gained:.4f} more than any one's.")
    return sentences


def renderables(found: SettingsResult) -> list[RenderableType]:
    """Table and sentences for the terminal."""
    return [rows_table("The settings that were tried", setting_rows(found)), *lines(found)]


def summary(found: SettingsResult) -> dict[str, Any]:
    """Everything for `--json`."""
    return {
        "setting": found.setting.model_dump(mode="json"),
        "settings": found.settings,
        "settings_proved": found.proved,
        "settings_study": found.study,
        "gained_by_mixing": found.gained,
        "interrupted": found.interrupted,
        "tried": [
            {
                "setting": row.setting.model_dump(mode="json"),
                "state": row.state,
                "value": row.value,
                "full_ms": row.full_ms,
                "exits": row.exits,
                "verdict": row.verdict,
                "reason": row.reason,
            }
            for row in found.rows
        ],
    }
