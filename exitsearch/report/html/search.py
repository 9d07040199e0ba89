"""The HTML report of a search: one file, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from exitsearch import __version__
from exitsearch.report.html.plots import budget_figure
from exitsearch.report.terminal import choice
from exitsearch.report.terminal.front import front_lines, front_rows
from exitsearch.search.result import SearchResult
from exitsearch.specs.document import write_text


def write_report(
    result: SearchResult,
    path: Path | str,
    *,
    lines: Sequence[str] = (),
    tables: Sequence[tuple[str, list[dict[str, Any]]]] = (),
) -> Path:
    """Write the report of a search, whole or not at all.

    Args:
        lines: sentences to stand before the others.
        tables: titles and rows of tables to stand before the others.

    Raises:
        FileError: when the file cannot be written.
    """
    environment = jinja2.Environment(loader=jinja2.PackageLoader("exitsearch.report.html"), autoescape=True)
    confidence = result.config.confidence
    points = [(point.budget_ms, point.value) for point in confidence.points] if confidence else []
    page = environment.get_template("search.html").render(
        config=result.config,
        budget=choice.budget_words(result),
        version=__version__,
        notes=result.notes,
        lines=[*lines, *choice.lines(result), *(front_lines(result.front) if result.front else [])],
        figure=budget_figure(result.problem, _curves(result), what=_vertical(result), points=points),
        tables=[
            *(_table(title, rows) for title, rows in tables),
            _table("The choice", choice.choice_rows(result)),
            _table("Beside the baselines", choice.baseline_rows(result)),
            *_tables_of_policy(result),
            *([_table("The front", front_rows(result.front))] if result.front else []),
        ],
    )
    return write_text(path, page)


def _vertical(result: SearchResult) -> str:
    """Name of the figure's vertical axis."""
    expected = result.config.expected
    return expected.worth or (expected.metric if expected.metric == "accuracy" else f"minus {expected.metric}")


def _tables_of_policy(result: SearchResult) -> list[dict[str, Any]]:
    if result.config.confidence is not None:
        return [_table("Operating points", choice.point_rows(result))]
    counts = [{"at most exits": count, "best expected value": f"{v:.4f}"} for count, v in result.solution.by_count]
    return [_table("What each further exit buys", counts)]


def _curves(result: SearchResult) -> dict[str, tuple[int, ...]]:
    """The choice, and the baselines that everybody thinks of first."""
    positions = result.problem.positions
    curves = {"the choice, interrupted" if result.config.confidence else "the choice": result.choice}
    for baseline in result.baselines:
        if baseline.name in ("backbone alone", "best single exit"):
            curves[baseline.name] = tuple(positions[pair] for pair in baseline.exits)
    return curves


def _table(title: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"title": title, "columns": list(rows[0]) if rows else [], "rows": [list(row.values()) for row in rows]}
