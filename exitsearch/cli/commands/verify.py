"""`exitsearch verify`: a bundle on this machine, predicted against observed."""

from __future__ import annotations

import argparse
from pathlib import Path

from exitsearch.cli import options

HELP = "ask a bundle on this machine and compare what happens with what was predicted"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder that exitsearch export wrote")
    parser.add_argument(
        "--budget-dist",
        metavar="B",
        help="budgets, as uniform:10,80 or shares of the bundle's own backbone (default: the bundle's own)",
    )
    parser.add_argument(
        "--seconds", type=options.seconds, default=60.0, metavar="S", help="for all requests (default: %(default)g)"
    )
    parser.add_argument(
        "--load",
        type=options.count,
        default=0,
        metavar="N",
        help="once more beside N busy processes, with and without the on-line correction; as many as cores, or more, "
        "take cores away",
    )
    parser.add_argument(
        "--settle",
        type=options.finite,
        default=0.0,
        metavar="S",
        help="seconds from the end of that load to the requests that are asked afterwards (default: %(default)g)",
    )
    parser.add_argument(
        "--pause-ms",
        type=options.not_negative,
        default=0.0,
        metavar="P",
        help="wait before every request, as between two frames of a camera (default: %(default)g)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: verify.json beside the bundle")
    parser.add_argument(
        "--plots", type=Path, metavar="DIR", help="also write every figure of the report as PNG and SVG, for papers"
    )
    group = parser.add_argument_group("data")
    group.add_argument("--data", metavar="D", help="whose report split is asked, as for train (default: random inputs)")
    group.add_argument("--data-dir", metavar="DIR", help="where data sets that have a name are kept (default: data)")
    group.add_argument("--download", action="store_true", help="fetch what is missing there")
    group = parser.add_argument_group("answers")
    group.add_argument(
        "--quantile",
        type=options.finite,
        default=0.99,
        metavar="Q",
        help="by which hard deadlines are planned: 0.5, 0.9 or 0.99 (default: %(default)s)",
    )
    group.add_argument(
        "--threads", type=options.positive_int, metavar="N", help="CPU threads of a request (default: the bundle's own)"
    )
    options.add_seed(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Verify, print what was found: 1 where the prediction's interval was left."""
    from exitsearch.cli import console
    from exitsearch.pipeline.verify import verify
    from exitsearch.report.html.verification import write_verification, write_verification_plots
    from exitsearch.report.terminal import next_steps
    from exitsearch.report.terminal import verify as report
    from exitsearch.report.terminal.layout import bullets

    verified = verify(
        args.bundle,
        data=args.data,
        data_dir=args.data_dir,
        download=args.download,
        budget=args.budget_dist,
        seconds=args.seconds,
        load=args.load,
        settle=args.settle,
        pause_ms=args.pause_ms,
        quantile=args.quantile,
        threads=args.threads,
        seed=args.seed,
        out=args.out,
        watch=console.Terminal.of(args),
    )
    found = verified.verification
    page = write_verification(found, verified.file.with_suffix(".html"))
    pictures = write_verification_plots(found, args.plots) if args.plots else []
    if args.json:
        console.print_json(found.model_dump(mode="json"))
    else:
        wrote = [f"wrote {verified.file} and {page}", *(f"wrote {picture}" for picture in pictures)]
        tables, lines = report.verification_tables(found), report.verification_lines(found)
        console.say(args, report.verification_answer(found), *tables, bullets(lines))
        console.lines(args, *wrote)
        console.next_step(args, next_steps.after_verify(args.bundle, within=found.within))
    return 0 if found.within else 1
