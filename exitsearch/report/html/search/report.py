"""`report.html` of a search, and its figures as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from exitsearch.report.html.charts.pictures import write_pictures
from exitsearch.report.html.page import Page, Section, Table, write_page
from exitsearch.report.html.search import backbone, candidates, effort, over_budget, summary
from exitsearch.report.html.search.commands import commands
from exitsearch.report.html.search.front import front
from exitsearch.report.html.search.honesty import honesty
from exitsearch.report.html.search.searched import Searched
from exitsearch.report.html.search.worlds import worlds
from exitsearch.report.terminal import choice


def write_report(
    searched: Searched, path: Path | str, *, lines: Sequence[str] = (), tables: Sequence[Table] = ()
) -> Path:
    """Write the report of a search as one page, whole or not at all.

    Args:
        lines: sentences of the caller's, which stand in a section of their own before the others.
        tables: the same of tables.

    Raises:
        FileError: the file cannot be written.
    """
    return write_page(search_page(searched, lines=lines, tables=tables), path)


def write_plots(searched: Searched, folder: Path | str) -> list[Path]:
    """Write every figure of the report as PNG and SVG, for papers.

    Raises:
        FileError: a file cannot be written.
    """
    return write_pictures(search_page(searched).figures, folder)


def search_page(searched: Searched, *, lines: Sequence[str] = (), tables: Sequence[Table] = ()) -> Page:
    """The page of a search."""
    config = searched.result.config
    own = [Section(key="settings", title="Settings", text=lines, tables=tables)] if lines or tables else []
    return Page(
        title=f"Exits for {config.backbone.name or 'a brought table'}",
        sentence=summary.sentence(searched),
        about=f"Budgets {choice.budget_words(searched.result)}, policy {config.policy}, profile "
        f"{config.profile['condition']}, outcomes {config.outcomes['source'] or 'of an unnamed source'}; searched "
        f"{config.created}.",
        facts=summary.facts(searched),
        warnings=searched.result.notes,
        sections=[
            *own,
            over_budget.section(searched),
            backbone.section(searched),
            candidates.section(searched),
            *effort.further_exits(searched),
            *effort.operating_points(searched),
            *effort.history(searched),
            *front(searched),
            worlds(searched),
            honesty(searched),
            commands(searched),
        ],
    )
