"""`exitsearch compare A B`: say unit by unit whether B is faster than A, slower, the same, or whether it is unclear."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exitsearch.cli import options

if TYPE_CHECKING:
    from exitsearch.measure.compare import Comparison, UnitComparison

HELP = "compare two profiles: faster, slower, same or ambiguous per unit and in all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("before", metavar="A", help="profile JSON or costs CSV: the yardstick")
    parser.add_argument("after", metavar="B", help="what is compared with it")
    parser.add_argument(
        "--across", action="store_true", help="compare although the conditions differ (device, dtype, runtime, ...)"
    )
    parser.add_argument(
        "--tolerance", type=options.share, default=0.02, metavar="2%", help="within this it is the same (default: 2%%)"
    )
    parser.add_argument("--batch-size", type=options.positive_int, metavar="N", help="of both (default: their first)")
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    from exitsearch.cli import console
    from exitsearch.measure.compare import compare_profiles
    from exitsearch.report.terminal import compare as report
    from exitsearch.report.terminal import next_steps
    from exitsearch.report.terminal import profile as profile_report
    from exitsearch.specs.load import load_profile

    before, after = (load_profile(source).at_batch(args.batch_size) for source in (args.before, args.after))
    found = compare_profiles(before, after, across=args.across, tolerance=args.tolerance)
    if args.json:
        console.print_json(_summary(found))
        return 0
    tables = report.comparison_tables(found, before=args.before, after=args.after)
    console.say(args, report.comparison_sentence(found), *tables)
    for kind, facts in (("condition differs", found.differences), ("worth knowing", found.soft)):
        for key, (old, new) in facts.items():
            console.note(f"{kind}: {key} is {old} in A and {new} in B")
    for name, profile, source in (("A", before, args.before), ("B", after, args.after)):
        doubt = profile_report.doubt(profile.verdict, where=f"exitsearch check {source}")
        if doubt is not None:
            console.note(f"{name} is {doubt}")
    if found.only_before or found.only_after:
        console.note(
            f"not compared: {len(found.only_before)} units that only A has, {len(found.only_after)} that only B has"
        )
    console.next_step(args, next_steps.after_profile(after, Path(args.after)))
    return 0


def _summary(found: Comparison) -> dict[str, Any]:
    def facts(unit: UnitComparison) -> dict[str, Any]:
        # JSON knows no infinity: a ratio to 0 is none.
        return {
            **vars(unit),
            "ratio": unit.ratio if math.isfinite(unit.ratio) else None,
            "interval": [end if math.isfinite(end) else None for end in unit.interval],
        }

    return {
        "in_all": facts(found.in_all),
        "counts": found.counts(),
        "units": [facts(unit) for unit in found.units[:-1]],
        "differences": found.differences,
        "soft": found.soft,
        "only_before": found.only_before,
        "only_after": found.only_after,
    }
