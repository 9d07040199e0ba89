"""What `exitsearch search` writes for people: `report.html`, and with `--plots` its figures as pictures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exitsearch.report.html.page import Table
    from exitsearch.search.result import SearchResult
    from exitsearch.search.sensitivity import SensitivityRow
    from exitsearch.search.utility import Utility
    from exitsearch.specs.outcomes import Outcomes
    from exitsearch.specs.profile import Profile

REPORT = "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of what is written."""
    parser.add_argument(
        "--plots", type=Path, metavar="DIR", help="also write every figure of the report as PNG and SVG, for papers"
    )


def write(
    args: argparse.Namespace,
    result: SearchResult,
    *,
    profile: Profile,
    outcomes: Outcomes,
    sources: tuple[str, str],
    utility: Utility | None = None,
    worlds: Sequence[SensitivityRow] = (),
    lines: Sequence[str] = (),
    tables: Sequence[Table] = (),
) -> tuple[Path, list[Path]]:
    """Write the report, and the pictures that were asked for.

    Args:
        profile, outcomes: that the choice was made with.
        sources: where they are, as options take it.
        worlds: that were asked for.
        lines, tables: of the settings that were tried.

    Returns:
        The page, and the pictures.
    """
    from exitsearch.report.html.search.report import write_plots, write_report
    from exitsearch.report.html.search.searched import Searched
    from exitsearch.report.html.search.worlds import worlds_of
    from exitsearch.search.valuation import Valuation

    asked = {"--worth": args.worth, "--class-weights": args.class_weights}
    searched = Searched(
        result=result,
        profile=profile,
        outcomes=Valuation(outcomes, utility, fallback=args.fallback),
        profile_source=sources[0],
        outcomes_source=sources[1],
        worlds=worlds or worlds_of(result),
        out=str(args.out),
        space=str(args.space) if args.space else None,
        plugin=str(args.plugin) if args.plugin else None,
        worth=[str(part) for pair in asked.items() if pair[1] is not None for part in pair],
    )
    page = write_report(searched, args.out / REPORT, lines=lines, tables=tables)
    return page, write_plots(searched, args.plots) if args.plots else []
