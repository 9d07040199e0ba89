"""`exitsearch train-heads`: train every candidate head over the frozen backbone and keep what each answered."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from exitsearch.cli import options

if TYPE_CHECKING:
    from exitsearch.pipeline.backbone import BackboneRequest
    from exitsearch.pipeline.outcomes import Training
    from exitsearch.specs.question.candidates import Candidates

HELP = "train every candidate head at every placement over the frozen backbone (resumable)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    options.add_model(parser)
    options.add_candidates(parser)
    options.add_machine(parser)
    options.add_data(parser, batch_size=True)
    parser.add_argument("--restart", action="store_true", help="throw away an unfinished run in the folder")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what it would take, from a few steps; write nothing"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: outcomes/<backbone>__<data>")
    parser.add_argument(
        "--probe", action="store_true", help="only score a closed-form linear probe of every placement, in seconds"
    )
    parser.add_argument(
        "--calibration", action="store_true", help="also print how far the confidence of each exit can be believed"
    )
    parser.add_argument(
        "--keep-logits",
        action="store_true",
        help="keep every output in float16 too, for --worth functions that need more than the class",
    )
    options.add_seed(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Train, write the outcomes, print them."""
    from exitsearch.cli import console
    from exitsearch.learn.bank.processes import Processes
    from exitsearch.pipeline.outcomes import make_outcomes
    from exitsearch.pipeline.watch import Silent
    from exitsearch.report.terminal import calibration, next_steps
    from exitsearch.report.terminal import outcomes as report

    options.load_plugin(args)
    space = options.read_space(args)
    backbone = options.read_backbone(args, space, metric=args.metric)
    training = options.read_training(args, batch_size=True).model_copy(update={"keep_logits": args.keep_logits})
    if args.probe:
        return _probe(args, backbone, training, options.read_candidates(args, space))
    if args.dry_run:
        return _estimate(args, backbone, training, options.read_candidates(args, space))
    usual = training.folder(backbone.name)
    folder = args.out or usual
    first = Processes.from_environment().first
    outcomes = make_outcomes(
        backbone,
        training,
        out=folder,
        candidates=options.read_candidates(args, space),
        restart=args.restart,
        # Of several processes that share the heads, one speaks.
        watch=console.Terminal.of(args) if first else Silent(),
    )
    if not first:
        return 0
    if args.json:
        console.print_json(
            {"outcomes": str(folder), "identity": outcomes.identity, **report.outcomes_summary(outcomes)}
        )
    else:
        more = [calibration.calibration_table(outcomes)] if args.calibration else []
        dropped = [str(head) for head in outcomes.dropped]
        console.say(args, report.outcomes_table(outcomes), report.final_line(outcomes), *more, *dropped)
        console.lines(args, f"wrote {folder}")
        console.next_step(args, next_steps.after_heads(None if folder.parent == usual.parent else folder))
    return 0


def _probe(args: argparse.Namespace, backbone: BackboneRequest, training: Training, candidates: Candidates) -> int:
    """Print what closed-form probes score."""
    from exitsearch.cli import console
    from exitsearch.pipeline.probe import probe
    from exitsearch.report.terminal.probes import probes_summary, probes_table

    found = probe(backbone, training, candidates=candidates, watch=console.Terminal.of(args))
    if args.json:
        console.print_json(probes_summary(found))
    else:
        console.say(args, probes_table(found))
        console.next_step(args, "the same command without --probe trains the heads themselves")
    return 0


def _estimate(args: argparse.Namespace, backbone: BackboneRequest, training: Training, candidates: Candidates) -> int:
    """Print what the training would take."""
    from exitsearch.cli import console
    from exitsearch.pipeline.estimate import estimate_outcomes
    from exitsearch.report.terminal.estimate import estimate_summary, estimate_table

    found = estimate_outcomes(backbone, training, candidates=candidates, watch=console.Terminal.of(args))
    if args.json:
        console.print_json(estimate_summary(found))
    else:
        console.say(args, estimate_table(found))
        console.next_step(args, "the same command without --dry-run trains them")
    return 0
