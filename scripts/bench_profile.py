"""How repeatable a profile is, and how much the profiler slows down what it measures.

    OMP_NUM_THREADS=1 python scripts/bench_profile.py --model vit_tiny_patch16_224 --threads 1 --json figures.json

Repeatability: two profiles of the same model, one after the other; the ratio of every unit's two medians, the median
and the worst of them, as measured and in parts of the plain backbone (which a machine that changed its speed in between
does not move). Overhead: passes of the segments one after the other, alternately with a clock reading at every
boundary and with none but at the ends, in random order; the ratio of the two medians.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence

import figures
import torch

from exitsearch.cli.console import progress
from exitsearch.measure.compare import compare_profiles
from exitsearch.measure.preparation import Condition, Ready, made_ready
from exitsearch.measure.profiler import profile_backbone
from exitsearch.measure.timing.clock import Clock, clock_for
from exitsearch.measure.timing.latency import no_collection, run_chain
from exitsearch.measure.timing.statistics import median, median_interval
from exitsearch.models.backbone import Backbone, create_backbone
from exitsearch.specs.head import split_heads


def repeatability(backbone: Backbone, options: argparse.Namespace) -> dict[str, object]:
    """Two profiles, unit by unit."""
    profiles = []
    for seed in (options.seed, options.seed + 1):
        with progress(f"profile with seed {seed}") as report:
            profiles.append(
                profile_backbone(
                    backbone,
                    heads=split_heads(options.heads) if options.heads else None,
                    precision=options.precision,
                    max_seconds=options.max_seconds,
                    seed=seed,
                    progress=report,
                    **figures.condition(options),
                )
            )
    first, second = profiles
    found = compare_profiles(first, second)
    off = {unit.unit: abs(unit.ratio - 1) for unit in found.units[:-1]}
    worst = max(off, key=lambda unit: off[unit])
    speed = next(unit.ratio for unit in found.units if unit.unit == "plain backbone")
    shares = {unit.unit: abs(unit.ratio / speed - 1) for unit in found.units[:-1]}
    return {
        "condition": first.condition(),
        "environment": first.environment.identity,
        "date": first.created,
        "units": len(off),
        "seconds": [first.protocol["seconds"], second.protocol["seconds"]],
        "median_unit_differs": median(list(off.values())),
        "worst_unit_differs": off[worst],
        "worst_unit": worst,
        "plain_backbone_ratio": speed,
        "median_share_differs": median(list(shares.values())),
        "worst_share_differs": max(shares.values()),
        "sum_ratio": found.in_all.ratio,
        "counts": dict(found.counts()),
        "verdicts": [str(first.verdict), str(second.verdict)],
    }


def run_unread(ready: Ready, x: torch.Tensor, clock: Clock) -> float:
    """The chain without heads and with no clock reading inside; milliseconds."""
    runtime = ready.runtime
    with no_collection():
        clock.start()
        state = runtime.begin(x)
        for segment in runtime.segments:
            state = segment(state)
        runtime.final(state)
        return clock.stop().total_ms


def overhead(backbone: Backbone, options: argparse.Namespace) -> dict[str, object]:
    """Passes with and without readings at the boundaries, interleaved."""
    condition = Condition.resolve(
        options.device, dtype=options.dtype, threads=options.threads, runtime=options.runtime, seed=options.seed
    )
    clock, draw = clock_for(condition.device), random.Random(options.seed)
    times: dict[bool, list[float]] = {True: [], False: []}
    with made_ready(backbone, [], condition, batch_size=options.batch_size) as ready, torch.inference_mode():
        begin = None
        for number in range(10**9):
            # The first rounds warm up.
            if number == 10:
                times, begin = {True: [], False: []}, clock.now_s()
            if begin is not None and clock.now_s() - begin > options.overhead_seconds and number >= 40:
                break
            x = draw.choice(ready.inputs)
            for read in draw.sample((True, False), 2):
                ms = run_chain(ready.runtime, x, clock, {}).total_ms if read else run_unread(ready, x, clock)
                times[read].append(ms)
    return {
        "rounds": len(times[True]),
        "read_ms": median(times[True]),
        "read_interval_ms": median_interval(times[True]),
        "unread_ms": median(times[False]),
        "unread_interval_ms": median_interval(times[False]),
        "overhead": median(times[True]) / median(times[False]) - 1,
        # Each round's own ratio: what disturbs both passes of a round is not in it.
        "overhead_paired": median([a / b for a, b in zip(times[True], times[False], strict=True)]) - 1,
    }


def work(options: argparse.Namespace) -> int:
    backbone = create_backbone(options.model, pretrained=False)
    found = {"overhead": overhead(backbone, options), "repeatability": repeatability(backbone, options)}
    for title, facts in found.items():
        print(title)
        for key, value in facts.items():
            print(f"  {key}: {value}")
    figures.write(options, found)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    figures.add_options(parser, "--model", "--device", "--dtype", "--batch-size", "--runtime", "--threads", "--heads")
    figures.add_options(parser, "--seed", "--precision")
    figures.add_option(parser, "--max-seconds", help="for each of the two profiles")
    parser.add_argument("--overhead-seconds", type=float, default=20.0, metavar="S", help="default: 20")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
