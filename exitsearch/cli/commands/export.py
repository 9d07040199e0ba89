"""`exitsearch export`: write a trained model as a bundle of graphs, checked against torch and timed as deployed."""

from __future__ import annotations

import argparse
from pathlib import Path

from exitsearch.cli import options

HELP = "write a trained model as a bundle: graphs, weights and what a device must know to answer in time"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="chosen.json, or the folder it is in (default: the one beside the weights)",
    )
    parser.add_argument("--weights", type=Path, required=True, metavar="DIR", help="what exitsearch train wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="the folder to make")
    parser.add_argument("--restart", action="store_true", help="replace the bundle that stands there")
    parser.add_argument("--format", default="onnx", help="onnx or openvino (default: onnx)")
    parser.add_argument(
        "--precision", default="fp32", help="fp32, fp16 (weights alone) or int8 (dynamic) (default: fp32)"
    )
    parser.add_argument("--plugin", type=Path, metavar="FILE", help="Python file that registers exit heads of your own")
    group = parser.add_argument_group("times")
    group.add_argument("--threads", type=options.positive_int, default=1, metavar="N", help="of a run (default: 1)")
    group.add_argument(
        "--max-seconds", type=options.seconds, metavar="S", help="for measuring the graphs (default: 20)"
    )
    group.add_argument(
        "--measure",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure the graphs as they are deployed, or sum up a profile's times, which predict too much",
    )
    group.add_argument("--profile", metavar="P", help="for --no-measure (default: the backbone's newest)")
    group = parser.add_argument_group("data")
    group.add_argument("--data", metavar="D", help="whose choice split answers are compared over, as for train")
    group.add_argument("--data-dir", metavar="DIR", help="where data sets that have a name are kept (default: data)")
    group.add_argument("--download", action="store_true", help="fetch what is missing there")
    options.add_seed(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Export, print what was checked."""
    from exitsearch.cli import console
    from exitsearch.pipeline.export import export
    from exitsearch.report.terminal import bundle, next_steps

    options.load_plugin(args)
    exported = export(
        args.config,
        weights=args.weights,
        out=args.out,
        format=args.format,
        precision=args.precision,
        threads=args.threads,
        data=args.data,
        data_dir=args.data_dir,
        download=args.download,
        measure=args.measure,
        max_seconds=args.max_seconds,
        profile=args.profile,
        seed=args.seed,
        restart=args.restart,
        watch=console.Terminal.of(args),
    )
    if args.json:
        console.print_json(bundle.bundle_summary(exported.folder, exported.bundle))
    else:
        sentences = bundle.bundle_sentences(exported.bundle)
        console.say(args, bundle.bundle_table(exported.bundle), *sentences)
        console.lines(args, f"wrote {exported.folder}")
        console.next_step(args, next_steps.after_export(exported.folder, data=args.data))
    return 0
