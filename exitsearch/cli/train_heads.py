"""`exitsearch train-heads`: train every candidate head over the frozen backbone and keep what each answered."""

from __future__ import annotations

import argparse
from pathlib import Path

from exitsearch.cli import options

HELP = "train every candidate head at every placement over the frozen backbone (resumable)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    options.add_model(parser)
    options.add_candidates(parser)
    options.add_machine(parser)
    options.add_data(parser, batch_size=True)
    parser.add_argument("--restart", action="store_true", help="throw away an unfinished run in the folder")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: outcomes/<backbone>__<data>")
    options.add_seed(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Train, write the outcomes, print them."""
    from exitsearch.cli import console
    from exitsearch.learn.processes import Processes
    from exitsearch.pipeline.outcomes import make_outcomes
    from exitsearch.pipeline.watch import Silent
    from exitsearch.report import tables

    options.load_plugin(args)
    space = options.read_space(args)
    backbone, training = (
        options.read_backbone(args, space, metric=args.metric),
        options.read_training(args, batch_size=True),
    )
    folder = args.out or training.folder(backbone.name)
    first = Processes.from_environment().first
    outcomes = make_outcomes(
        backbone,
        training,
        out=folder,
        candidates=options.read_candidates(args, space),
        restart=args.restart,
        # Of several processes that share the heads, one speaks.
        watch=console.Terminal() if first else Silent(),
    )
    if not first:
        return 0
    if args.json:
        console.print_json(
            {"outcomes": str(folder), "identity": outcomes.identity, **tables.outcomes_summary(outcomes)}
        )
    else:
        console.say(args, tables.outcomes_table(outcomes), f"wrote {folder}")
    return 0
