"""Predicted over measured, by number of exits: an error that grows with them is a wrong formula for a path."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import Any

from cuda_steps.step import Bench, Step
from exitsearch.measure.paths import measure_paths
from exitsearch.measure.profiler import profile_backbone
from exitsearch.measure.timing.statistics import median
from exitsearch.specs.profile import Profile

MODEL = "vit_tiny_patch16_224"
HEADS = ("linear", "mlp_ee", "attention_pool")
# Name of the group, fewest and most exits.
GROUPS = (("none", 0, 0), ("at most 2", 1, 2), ("3 to 7", 3, 7), ("8 and more", 8, 10**6))
MEDIAN, WORST, TREND = 0.02, 0.05, 0.03

ExitPath = list[tuple[int, str]]


def draw_paths(profile: Profile, *, each: int, seed: int) -> dict[str, list[ExitPath]]:
    """Random paths for every group that the backbone has placements for; without exits there is one."""
    draw = random.Random(seed)
    by_placement: dict[int, list[str]] = {}
    for head in profile.heads:
        by_placement.setdefault(head.placement, []).append(head.head)
    found: dict[str, list[ExitPath]] = {}
    for name, fewest, most in GROUPS:
        if fewest > len(by_placement):
            continue
        paths: dict[tuple[tuple[int, str], ...], None] = {}
        for _ in range(each if most else 1):
            count = draw.randint(fewest, min(most, len(by_placement)))
            places = sorted(draw.sample(sorted(by_placement), count))
            paths[tuple((place, draw.choice(by_placement[place])) for place in places)] = None
        found[name] = [list(path) for path in paths]
    return found


def group_errors(
    profile: Profile, groups: dict[str, list[ExitPath]], answers: Sequence[Sequence[float]], speed: float
) -> dict[str, Any]:
    """Predicted over measured of every final answer, the machine's change of speed taken out, by group.

    Args:
        profile: what predicts.
        groups: paths by group.
        answers: measured times of each path's answers in ms, in the order of the groups.
        speed: the plain backbone's time now over that in the profile.
    """
    measured = iter(answers)
    found: dict[str, Any] = {}
    for name, paths in groups.items():
        ratios = [profile.path_ms(path)[-1] * speed / next(measured)[-1] for path in paths]
        found[name] = {
            "ratios": [round(ratio, 4) for ratio in ratios],
            "median_error": median([abs(ratio - 1) for ratio in ratios]),
            "worst_error": max(abs(ratio - 1) for ratio in ratios),
            "median_ratio": median(ratios),
        }
    return found


def check_predictions(bench: Bench, *, dtype: str, runtime: str, batch_size: int) -> None:
    """Profile, then time paths that were never run before."""
    backbone = bench.backbone(MODEL)
    condition: dict[str, Any] = {"device": bench.device, "dtype": dtype, "runtime": runtime, "batch_size": batch_size}
    seconds = bench.seconds(15)
    heads = HEADS[:1] if bench.quick else HEADS
    profile = profile_backbone(backbone, heads=heads, max_seconds=seconds, **condition)
    groups = draw_paths(profile, each=2 if bench.quick else 6, seed=1)
    paths = [path for group in groups.values() for path in group]
    timed = measure_paths(backbone, paths, max_seconds=seconds, seed=1, **condition)
    assert profile.whole is not None
    assert profile.whole.latency_ms is not None
    speed = timed.whole_ms / profile.whole.latency_ms
    found = group_errors(profile, groups, [times.answers_ms for times in timed.paths], speed)
    errors = [abs(ratio - 1) for group in found.values() for ratio in group["ratios"]]
    middles = [group["median_ratio"] for group in found.values()]
    bench.figures |= {
        "groups": found,
        "median_error": median(errors),
        "worst_error": max(errors),
        "speed": speed,
        "whole_ms": profile.whole.latency_ms,
        "sum_over_whole": profile.protocol.get("sum_over_whole"),
        "host_bound": profile.protocol.get("host_bound"),
        "verdict": str(profile.verdict),
    }
    bench.require_time(median(errors) <= MEDIAN, f"half of all predictions are off by more than {median(errors):.1%}")
    bench.require_time(max(errors) <= WORST, f"the worst prediction is off by {max(errors):.1%}")
    trend = max(middles) - min(middles)
    bench.require_time(trend <= TREND, f"predicted over measured goes from {min(middles):.3f} to {max(middles):.3f} "
                                       "with the number of exits")  # fmt: skip


def _step(dtype: str, runtime: str, batch_size: int) -> Step:
    name = f"prediction:{dtype}:{runtime}:bs{batch_size}"
    return Step(name, 60, functools.partial(_only_here, dtype=dtype, runtime=runtime, batch_size=batch_size))


def _only_here(bench: Bench, *, dtype: str, runtime: str, batch_size: int) -> None:
    if runtime == "cudagraph" or dtype != "fp32":
        # Half precision on the CPU says nothing of a GPU's.
        bench.need_gpu()
    check_predictions(bench, dtype=dtype, runtime=runtime, batch_size=1 if bench.quick else batch_size)


STEPS = (
    _step("fp32", "eager", 1),
    _step("fp32", "cudagraph", 1),
    _step("fp32", "eager", 32),
    _step("bf16", "eager", 32),
    _step("bf16", "cudagraph", 1),
    _step("fp16", "eager", 1),
)
