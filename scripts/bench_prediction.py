"""Predicted over measured: profile a backbone, then time whole multi-exit models that were never measured before.

    python scripts/bench_prediction.py --model vit_tiny_patch16_224 --threads 1 --configs 20 --seed 0 --json bench.json

The configurations have no exit, at most 2, 3 to 7, or 8 and more, in turn, at random placements with random heads.
Under the runtime `eager` they are seen from outside: the built model's `iter_exits`, each output turned into an answer
on the host as a policy would, and the host's clock at every answer. Every run stands between two runs of timm's own
model, and its times are divided by the mean of the two, so that a machine that changes its speed cancels out. What is
compared is the median of these ratios with the profile's path over its plain backbone.

Under other runtimes, which no built model runs in, the profiler's own `measure_paths` times the paths, and the drift of
the plain backbone since the profile is taken out.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import figures
import torch
from torch import nn

from exitsearch.cli.console import ProgressCallback, progress
from exitsearch.errors import InputError
from exitsearch.measure.machine.fingerprint import resolve_dtype
from exitsearch.measure.paths import measure_paths
from exitsearch.measure.profiler import profile_backbone
from exitsearch.measure.timing.latency import no_collection
from exitsearch.measure.timing.statistics import median, median_interval
from exitsearch.models.backbone import Backbone, create_backbone
from exitsearch.models.multi_exit import MultiExitModel, attach_exits
from exitsearch.specs.config import ExitChoice, Expected, MultiExitConfig, Optimum
from exitsearch.specs.head import HeadChoice, split_heads
from exitsearch.specs.profile import Profile

ExitPath = tuple[tuple[int, str], ...]
# Numbers of exits whose errors are told apart: first and last of each group.
GROUPS = ((0, 0), (1, 2), (3, 7), (8, 10**9))
FEWEST_ROUNDS, WARM_UP_S = 10, 1.0


def draw_paths(profile: Profile, *, count: int, seed: int) -> list[ExitPath]:
    """Random configurations, all different: one without exits, then one of each other group in turn."""
    draw = random.Random(seed)
    by_placement: dict[int, list[str]] = {}
    for head in profile.heads:
        by_placement.setdefault(head.placement, []).append(head.head)
    spans = [(low, min(high, len(by_placement))) for low, high in GROUPS[1:] if low <= len(by_placement)]
    paths: dict[ExitPath, None] = {(): None}
    for number in range(100 * count):
        if len(paths) >= count:
            break
        exits = draw.randint(*spans[number % len(spans)])
        placements = sorted(draw.sample(sorted(by_placement), exits))
        paths[tuple((placement, draw.choice(by_placement[placement])) for placement in placements)] = None
    return list(paths)[:count]


def group_name(exits: int) -> str:
    """The group of a number of exits, in words.

    >>> [group_name(exits) for exits in (0, 2, 5, 12)]
    ['no exit', '1 to 2 exits', '3 to 7 exits', '8 and more exits']
    """
    low, high = next(group for group in GROUPS if group[0] <= exits <= group[1])
    if high == 0:
        return "no exit"
    return f"{low} to {high} exits" if high < GROUPS[-1][1] else f"{low} and more exits"


def error_summary(ratios: Sequence[float]) -> dict[str, float]:
    """Median and worst absolute error of predicted over measured, and the median with its sign."""
    errors = [abs(ratio - 1) for ratio in ratios]
    return {
        "median_error": median(errors),
        "worst_error": max(errors),
        "median_signed": median(ratios) - 1,
        "count": len(ratios),
    }


def decided(outputs: torch.Tensor) -> object:
    """Answer and confidence of every input on the host: what a policy needs to go on or to stop."""
    confidence, answer = outputs.float().softmax(dim=-1).max(dim=-1)
    return torch.stack((confidence, answer.float())).tolist()


def build(backbone: Backbone, path: ExitPath) -> MultiExitModel:
    """The multi-exit model of a path, around the one backbone."""
    exits = []
    for placement, head in path:
        choice = HeadChoice.parse(head)
        exits.append(ExitChoice(placement=placement, head=choice.type, options=choice.options))
    config = MultiExitConfig(
        schema_version=MultiExitConfig.current_version,
        backbone=backbone.facts,
        exits=exits,
        # Nothing was searched for: a model only looks at its exits.
        policy="interruptible",
        budget="point:1",
        expected=Expected(value=0.0, metric="accuracy", policy="interruptible", split="none"),
        optimum=Optimum(value=0.0, exact=False, regret=0.0),
        latency_ms=[0.0] * (len(path) + 1),
        profile={},
        outcomes={},
    )
    return attach_exits(backbone, config=config)


def answers_ms(model: nn.Module, x: torch.Tensor) -> list[float]:
    """Milliseconds to each answer of a multi-exit model; of timm's own model to its outputs."""

    def wait() -> None:
        if x.device.type == "cuda":
            torch.cuda.synchronize(x.device)

    found = []
    gc.collect(0)
    wait()
    begin = time.perf_counter_ns()
    if isinstance(model, MultiExitModel):
        for number, outputs in enumerate(model.iter_exits(x)):
            if number < len(model.heads):
                decided(outputs)
                found.append((time.perf_counter_ns() - begin) / 1e6)
    else:
        model(x)
    wait()
    return [*found, (time.perf_counter_ns() - begin) / 1e6]


def timed_outside(
    backbone: Backbone, paths: Sequence[ExitPath], options: argparse.Namespace, *, report: ProgressCallback
) -> tuple[list[list[list[float]]], list[float]]:
    """Every answer's time over that of timm's own model next to it [path][answer][round], and timm's times in ms."""
    where = {"device": options.device, "dtype": resolve_dtype(options.dtype)}
    models = [build(backbone, path).to(**where) for path in paths]
    plain, draw = backbone.module.eval(), random.Random(options.seed + 1)
    x = backbone.example_input(options.batch_size, generator=torch.Generator().manual_seed(options.seed))
    ratios: list[list[list[float]]] = [[[] for _ in range(len(path) + 1)] for path in paths]
    own: list[float] = []
    with torch.inference_mode(), no_collection():
        warm_until = time.monotonic() + WARM_UP_S
        while time.monotonic() < warm_until:
            for model in models:
                answers_ms(model, x)
        begin, rounds, spent = time.monotonic(), 0, 0.0
        while rounds < FEWEST_ROUNDS or spent < 1:
            beside = [answers_ms(plain, x)[0]]
            for index in draw.sample(range(len(models)), len(models)):
                answers = answers_ms(models[index], x)
                beside.append(answers_ms(plain, x)[0])
                yardstick = sum(beside[-2:]) / 2
                for samples, answer in zip(ratios[index], answers, strict=True):
                    samples.append(answer / yardstick)
            own += beside
            rounds += 1
            spent = (time.monotonic() - begin) / options.max_seconds
            report(min(spent, 1.0), f"round {rounds}")
    return ratios, own


def compared(
    profile: Profile, backbone: Backbone, paths: Sequence[ExitPath], options: argparse.Namespace
) -> tuple[list[dict[str, Any]], list[float]]:
    """A row for each path, with predicted over measured of each answer, and times of the plain backbone now."""
    assert profile.whole is not None
    assert profile.whole.latency_ms is not None
    then = profile.whole.latency_ms
    if options.runtime == "eager":
        with progress("paths") as report:
            ratios, plain = timed_outside(backbone, paths, options, report=report)
        # Over timm's own model; in ms of the time when the profile was made.
        measured = [[[ratio * then for ratio in samples] for samples in answers] for answers in ratios]
        found_ms = [[median(samples) for samples in answers] for answers in measured]
        intervals = [[median_interval(samples) for samples in answers] for answers in measured]
    else:
        with progress("paths") as report:
            timed = measure_paths(
                backbone,
                paths,
                max_seconds=options.max_seconds,
                seed=options.seed + 1,
                progress=report,
                **figures.condition(options),
            )
        plain = timed.plain_ms
        drift = median(plain) / then
        found_ms = [[time_ms / drift for time_ms in times.answers_ms] for times in timed.paths]
        intervals = [
            [None if ends is None else (ends[0] / drift, ends[1] / drift) for ends in times.intervals_ms]
            for times in timed.paths
        ]
    rows = []
    for path, found, ends in zip(paths, found_ms, intervals, strict=True):
        predicted = profile.path_ms(path)
        rows.append(
            {
                "exits": [list(chosen) for chosen in path],
                "predicted_ms": predicted,
                "measured_ms": found,
                "intervals_ms": [list(interval) if interval else None for interval in ends],
                "ratios": [guess / seen for guess, seen in zip(predicted, found, strict=True)],
            }
        )
    return rows, plain


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Errors of the final answers, of the exits' answers, and of the final answers by number of exits."""
    exits = [ratio for row in rows for ratio in row["ratios"][:-1]]
    summary = {"final": error_summary([row["ratios"][-1] for row in rows])}
    if exits:
        summary["exits"] = error_summary(exits)
    for low, high in GROUPS:
        group = [row["ratios"][-1] for row in rows if low <= len(row["exits"]) <= high]
        if group:
            summary[f"final, {group_name(low)}"] = error_summary(group)
    return summary


def made_profile(backbone: Backbone, options: argparse.Namespace) -> Profile:
    """The profile to check: of `--profile-in`, or a new one, kept where `--profile-out` says."""
    if options.profile_in:
        profile = Profile.read(options.profile_in).at_batch(options.batch_size)
    else:
        with progress("profile") as report:
            profile = profile_backbone(
                backbone,
                heads=split_heads(options.heads) if options.heads else None,
                precision=options.precision,
                max_seconds=options.max_seconds,
                seed=options.seed,
                progress=report,
                **figures.condition(options),
            )
    if options.profile_out:
        profile.write(options.profile_out)
    return profile


def show(rows: Sequence[dict[str, Any]], summary: dict[str, dict[str, float]]) -> None:
    """Print each configuration, and the errors in sum."""
    table = figures.Table(
        {
            "configuration": "<60",
            "predicted ms": "12.3f",
            "measured ms": "12.3f",
            "ratio": "7.3f",
            "worst exit": "10.3f",
        }
    )
    for row in rows:
        name = " ".join(f"{placement}:{head}" for placement, head in row["exits"]) or "no exit"
        name = name if len(name) <= 60 else name[:57] + "..."
        *exits, final = row["ratios"]
        worst = max(exits, key=lambda ratio: abs(ratio - 1)) if exits else None
        table.row(name, row["predicted_ms"][-1], row["measured_ms"][-1], final, worst)
    for what, errors in summary.items():
        print(
            f"{what:<26} median error {errors['median_error']:.1%}, worst {errors['worst_error']:.1%}, with its sign "
            f"{errors['median_signed']:+.1%}, of {errors['count']:.0f}"
        )


def work(options: argparse.Namespace) -> int:
    if options.configs < 1:
        raise InputError(f"--configs must be 1 or more; found {options.configs}")
    if options.threads:
        torch.set_num_threads(options.threads)
    backbone = create_backbone(options.model, pretrained=False)
    profile = made_profile(backbone, options)
    rows, plain = compared(profile, backbone, draw_paths(profile, count=options.configs, seed=options.seed), options)
    summary = summarise(rows)
    assert profile.whole is not None
    assert profile.whole.latency_ms is not None
    drift = median(plain) / profile.whole.latency_ms
    view = "iter_exits between runs of timm's own model" if options.runtime == "eager" else "measure_paths"
    print(f"{profile.condition()}, {profile.environment.identity['threads']} threads, seed {options.seed}; {view}")
    show(rows, summary)
    sums = profile.protocol.get("sum_over_whole")
    steps = [abs(after / before - 1) for before, after in pairwise(plain)]
    print(f"sum of the profile's parts over its plain backbone: {sums}")
    print(f"plain backbone: {profile.whole.latency_ms:.3f} ms in the profile, {median(plain):.3f} ms now ({drift:.3f})")
    print(f"plain backbone from one run to the next: {median(steps):.1%} apart")
    print(f"profile's verdict: {profile.verdict}")
    found = {
        "condition": dict(profile.environment.identity),
        "model": options.model,
        "seed": options.seed,
        "date": profile.created,
        "view": view,
        "verdict": profile.verdict.model_dump(mode="json"),
        "drift": drift,
        "sum_over_whole": sums,
        "summary": summary,
        "configurations": rows,
    }
    figures.write(options, found)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    figures.add_options(parser, "--model", "--device", "--dtype", "--batch-size", "--runtime", "--threads", "--heads")
    parser.add_argument("--configs", type=int, default=20, metavar="N", help="configurations to check (default: 20)")
    figures.add_options(parser, "--seed", "--precision")
    figures.add_option(parser, "--max-seconds", help="for the profile, and again for the check")
    parser.add_argument("--profile-in", metavar="FILE", type=Path, help="check this profile instead of making one")
    parser.add_argument("--profile-out", metavar="FILE", type=Path, help="keep the profile here")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
