"""What there is to choose from, for people: `exitsearch list`. The rows are those of `--json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType

from exitsearch.report.terminal.layout import entries_table, rows_table

Rows = Sequence[Mapping[str, Any]]

# The first to go where it is narrow.
_NEEDS = {"grid": "a grid of patch tokens or a feature map", "class_token": "a class token"}
_LESSER = ("carried", "depth", "prefix tokens", "class token", "layout")


def heads(title: str, rows: Rows) -> RenderableType:
    """A head type with its options and its source, in the order given."""
    return entries_table(
        title,
        {
            row["head"]: [
                row["description"],
                *([f"options: {row['options']}"] if row["options"] else []),
                *([f"needs {_NEEDS.get(row['needs'], row['needs'])}"] if row["needs"] != "any features" else []),
                *([f"source: {row['source']}"] if row["source"] else []),
            ]
            for row in rows
        },
    )


def placements(title: str, rows: Rows) -> RenderableType:
    """A row a placement; what no placement has is left out."""
    had = {key for row in rows for key, value in row.items() if value not in ("", None)}
    shown = [{key: _short(value) for key, value in row.items() if key in had} for row in rows]
    return rows_table(title, shown, lesser=_LESSER)


def _short(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else value


def budgets(title: str, rows: Rows) -> RenderableType:
    """A family of distributions and what it means."""
    return entries_table(title, {row["budget"]: [row["meaning"]] for row in rows})


def models(title: str, rows: Rows) -> RenderableType:
    """A row a model; of its pretrained weights the first, which are taken unless others are named."""
    shown = [{**row, "pretrained": _weights(row["pretrained"].split(", "))} for row in rows]
    return rows_table(title, shown, lesser=("family",))


def _weights(tags: Sequence[str]) -> str:
    return tags[0] if len(tags) == 1 else f"{tags[0]} and {len(tags) - 1} more"


def recipes(title: str, rows: Rows) -> RenderableType:
    """A recipe: what it trains, what it minimises, where it is from."""
    return entries_table(
        title,
        {
            row["recipe"]: [
                row["description"],
                f"trains {row['stages']}",
                f"minimises {row['minimises']}",
                f"source: {row['source']}",
            ]
            for row in rows
        },
    )
