"""Whether the verdict finds other programs: profiles with every core kept busy by others, then with that load gone.

    python scripts/check_contention.py --json figures.json

With every number of threads, a profile is taken while busy loops, as many as this process has cores, run in processes
of their own, and another when they have ended. The first verdict must not be `ok` and must name contention; the second
must not name it. Its status and other reasons (drift, spread, precision) are printed too, and stand in the JSON. Exit
status 1 when a verdict is not as it must be: where other work goes on, the second cannot be.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypedDict

import figures

from exitsearch.measure.machine.load import usable_cores
from exitsearch.measure.profiler import profile_backbone
from exitsearch.models.backbone import Backbone, create_backbone
from exitsearch.specs.backbone import EMBEDDED_NAME
from exitsearch.specs.head import split_heads
from exitsearch.specs.profile import Profile, Scalar

# Says that it runs, then does nothing at full speed; ends by itself if its parent is gone.
BUSY_LOOP = """
import os
parent = os.getppid()
print("busy", flush=True)
while os.getppid() == parent:
    for _ in range(10**6):
        pass
"""


class Run(TypedDict):
    """One profile, and whether its verdict is as it must be."""

    threads: int
    busy_loops: int
    plain_backbone_ms: float
    status: str
    names_contention: bool
    as_it_must_be: bool
    reasons: list[dict[str, Any]]
    condition: str
    environment: dict[str, Scalar]
    state: dict[str, Scalar]
    date: str


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Keep cores busy with other processes, inside; all of them run when it begins and none when it has ended."""
    loops: list[subprocess.Popen[str]] = []
    try:
        for _ in range(count):
            loops.append(subprocess.Popen([sys.executable, "-c", BUSY_LOOP], stdout=subprocess.PIPE, text=True))
        for loop in loops:
            assert loop.stdout is not None
            assert loop.stdout.readline() == "busy\n"
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.communicate()


def measured(backbone: Backbone, options: argparse.Namespace, threads: int, *, loops: int) -> Run:
    """One profile with so many busy loops beside it, and whether its verdict is as it must be."""
    with busy_cores(loops):
        profile = profile_backbone(
            backbone,
            heads=split_heads(options.heads),
            threads=threads,
            precision=options.precision,
            max_seconds=options.max_seconds,
            seed=options.seed,
        )
    verdict = profile.verdict
    contention = any(reason.what.startswith("contention") for reason in verdict.reasons)
    return {
        "threads": threads,
        "busy_loops": loops,
        "plain_backbone_ms": _whole_ms(profile),
        "status": verdict.status,
        "names_contention": contention,
        "as_it_must_be": contention and verdict.status != "ok" if loops else not contention,
        "reasons": [{"what": reason.what, "number": reason.number} for reason in verdict.reasons],
        "condition": profile.condition(),
        "environment": profile.environment.identity,
        "state": profile.environment.state,
        "date": profile.created,
    }


def _whole_ms(profile: Profile) -> float:
    assert profile.whole is not None
    assert profile.whole.latency_ms is not None
    return profile.whole.latency_ms


def show(run: Run) -> None:
    """One profile, for people."""
    threads, loops = run["threads"], run["busy_loops"]
    beside = f"{loops} busy loops" if loops else "no load"
    judged = "as it must be" if run["as_it_must_be"] else "NOT as it must be"
    print(f"{threads} thread{'s' if threads != 1 else ''}, {beside}: {run['status']}, {judged}")
    print(f"  plain backbone {run['plain_backbone_ms']:.3f} ms")
    for reason in run["reasons"]:
        print(f"  {reason['what']}: {reason['number']:.3g}")
    sys.stdout.flush()


def work(options: argparse.Namespace) -> int:
    cores = usable_cores()
    runs = []
    backbone = create_backbone(options.model, pretrained=False)
    for threads in options.threads:
        for loops in (cores, 0):
            runs.append(measured(backbone, options, threads, loops=loops))
            show(runs[-1])
    passed = all(run["as_it_must_be"] for run in runs)
    figures.write(options, {"cores": cores, "passed": passed, "runs": runs})
    return 0 if passed else 1


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    figures.add_option(parser, "--model", default=EMBEDDED_NAME)
    figures.add_option(
        parser,
        "--threads",
        type=figures.numbers,
        default=tuple(sorted({1, usable_cores()})),
        metavar="N[,N]",
        help="threads to measure with, one after the other (default: 1 and the number of cores)",
    )
    figures.add_option(parser, "--heads", default="linear", help="head types, with commas between")
    figures.add_options(parser, "--precision", "--seed")
    figures.add_option(parser, "--max-seconds", default=15.0, help="for each profile")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
