"""`exitsearch profile`: measure every segment and exit head of a backbone on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from exitsearch.cli import options
from exitsearch.errors import InputError

HELP = "measure MACs, parameters and latency of every segment and exit head, in place, on the target"

# As in pipeline/profile.py, which is not light enough to be asked before a command is known.
PRECISION = 0.02
MAX_SECONDS = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    options.add_model(parser)
    options.add_candidates(parser)
    options.add_machine(parser)
    parser.add_argument("--dtype", default="fp32", choices=("fp32", "bf16", "fp16"), help="default: fp32")
    parser.add_argument(
        "--batch-size", type=_batch_sizes, default=[1], metavar="N[,N]", help="one or several, as 1,8,32 (default: 1)"
    )
    parser.add_argument(
        "--runtime",
        default="eager",
        help="what runs the model: eager (default), compile, cudagraph, onnxruntime or openvino",
    )
    parser.add_argument(
        "--pause-ms",
        type=options.not_negative,
        default=0.0,
        metavar="P",
        help="let the device rest so long before every pass, as a camera does between frames (default: 0)",
    )
    parser.add_argument(
        "--energy", action="store_true", help="measure energies too, minutes more (NVML on CUDA, RAPL on the CPU)"
    )
    parser.add_argument("--counts-only", action="store_true", help="count operations only: no weights, no compute")
    parser.add_argument(
        "--precision",
        type=options.share,
        default=PRECISION,
        metavar="2%",
        help="stop when every median is known to this share (default: 2%%)",
    )
    parser.add_argument(
        "--max-seconds",
        type=options.seconds,
        default=MAX_SECONDS,
        metavar="S",
        help=f"stop then at the latest (default: {MAX_SECONDS:g})",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: profiles/<condition>.json")
    parser.add_argument(
        "--costs-csv", type=Path, metavar="FILE", help="write the costs table (its first batch size) too"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the profile into a .png or .html file too")
    parser.add_argument("--flops", action="store_true", help="show FLOPs beside MACs (1 MAC = 2 FLOPs)")
    options.add_seed(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, write the profile, print it."""
    from exitsearch.cli import console
    from exitsearch.pipeline import places
    from exitsearch.pipeline.profile import Measuring, make_profile
    from exitsearch.report.terminal import next_steps
    from exitsearch.report.terminal import profile as report

    if args.plot is not None and args.plot.suffix not in (".png", ".html"):
        raise InputError(f"--plot takes a file that ends in .png or .html, found {args.plot}; name one")
    if args.plot is not None and args.counts_only:
        raise InputError("--plot draws times, and --counts-only measures none; leave one of them out")
    options.load_plugin(args)
    space = options.read_space(args)
    measuring = Measuring(
        device=args.device or "cpu",
        dtype=args.dtype,
        batch_sizes=args.batch_size,
        threads=args.threads,
        runtime=args.runtime,
        precision=args.precision,
        max_seconds=args.max_seconds,
        energy=args.energy,
        counts_only=args.counts_only,
        pause_ms=args.pause_ms,
        seed=args.seed,
    )
    candidates = options.read_candidates(args, space)
    profile = make_profile(
        options.read_backbone(args, space), measuring, candidates=candidates, watch=console.Terminal.of(args)
    )
    usual = places.profile_file(profile)
    written = [profile.write(args.out or usual)]
    if args.costs_csv is not None:
        written.append(profile.to_costs_csv(args.costs_csv))
    if args.plot is not None:
        from exitsearch.report.html.profile import write_profile_plot

        written.append(write_profile_plot(profile, args.plot))
    if args.json:
        facts = {"profile": str(written[0]), "wrote": [str(path) for path in written], "identity": profile.identity}
        console.print_json({**facts, **report.profile_summary(profile)})
        return 0
    for size in profile.batch_sizes:
        one = profile.at_batch(size)
        console.say(args, *report.profile_tables(one, flops=args.flops), *report.profile_lines(one))
    console.lines(args, f"wrote {', '.join(str(path) for path in written)}")
    elsewhere = written[0] if written[0].parent != usual.parent else None
    console.next_step(args, next_steps.after_profile(profile, elsewhere))
    return 0


def _batch_sizes(text: str) -> list[int]:
    sizes = [options.positive_int(part.strip()) for part in text.split(",")]
    if len(set(sizes)) < len(sizes):
        raise argparse.ArgumentTypeError(f"each batch size once is needed, found {text!r}")
    return sizes
