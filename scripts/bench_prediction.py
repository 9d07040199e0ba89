"""Predicted over measured: profile a backbone, then time whole multi-exit paths that were never measured before.

    python scripts/bench_prediction.py --model vit_tiny_patch16_224 --threads 1 --configs 10 --seed 0 --json bench.json

The paths have a random number of exits at random placements with random heads. Every answer of a path is checked: the
exits' and the final one. The machine may drift between the profile and the check; the plain backbone, timed in both,
shows by how much. Errors are printed without and with that drift taken out.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from exitsearch.errors import ExitSearchError
from exitsearch.measure.profiler import measure_paths, profile_backbone
from exitsearch.measure.statistics import median
from exitsearch.models.backbone import create_backbone
from exitsearch.specs.document import write_json
from exitsearch.specs.head import split_heads
from exitsearch.specs.profile import Profile

ExitPath = tuple[tuple[int, str], ...]


def draw_paths(profile: Profile, *, count: int, seed: int) -> list[ExitPath]:
    """Random configurations, all different: 1 exit up to one at every placement that has heads."""
    draw = random.Random(seed)
    by_placement: dict[int, list[str]] = {}
    for head in profile.heads:
        by_placement.setdefault(head.placement, []).append(head.head)
    paths: dict[ExitPath, None] = {}
    for _ in range(100 * count):
        placements = sorted(draw.sample(sorted(by_placement), draw.randint(1, len(by_placement))))
        paths[tuple((placement, draw.choice(by_placement[placement])) for placement in placements)] = None
        if len(paths) == count:
            break
    return list(paths)


def error_summary(ratios: Sequence[float]) -> dict[str, float]:
    """Median and worst absolute error of predicted over measured."""
    errors = [abs(ratio - 1) for ratio in ratios]
    return {"median_error": median(errors), "worst_error": max(errors)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vit_tiny_patch16_224")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--runtime", default="eager")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--heads", help="head types, with commas between; default: every type that fits")
    parser.add_argument("--configs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", type=float, default=0.02)
    parser.add_argument("--max-seconds", type=float, default=120.0, help="for the profile, and again for the check")
    parser.add_argument("--profile-out", metavar="FILE", type=Path, help="keep the profile here")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures here too")
    options = parser.parse_args(arguments)
    try:
        return run(options)
    except ExitSearchError as error:
        print(f"bench_prediction: {error}", file=sys.stderr)
        return error.exit_status


def run(options: argparse.Namespace) -> int:
    backbone = create_backbone(options.model, pretrained=False)
    condition = {
        "device": options.device,
        "dtype": options.dtype,
        "batch_size": options.batch_size,
        "threads": options.threads,
        "runtime": options.runtime,
    }
    profile = profile_backbone(
        backbone,
        heads=split_heads(options.heads) if options.heads else None,
        precision=options.precision,
        max_seconds=options.max_seconds,
        seed=options.seed,
        progress=_show,
        **condition,
    )
    if options.profile_out:
        profile.write(options.profile_out)
    paths = draw_paths(profile, count=options.configs, seed=options.seed)
    measured, whole = measure_paths(
        backbone, paths, max_seconds=options.max_seconds, seed=options.seed + 1, progress=_show, **condition
    )
    print(file=sys.stderr)
    assert profile.whole is not None
    assert profile.whole.latency_ms is not None
    # What the plain backbone takes now over what it took in the profile.
    drift = median(whole) / profile.whole.latency_ms
    rows = []
    print(f"{profile.condition()}, {profile.environment.identity['threads']} threads, seed {options.seed}")
    print(f"{'configuration':<60} {'predicted ms':>12} {'measured ms':>12} {'ratio':>7} {'worst exit':>10}")
    for times in measured:
        predicted = profile.path_ms(times.exits)
        ratios = [guess / found for guess, found in zip(predicted, times.answers_ms, strict=True)]
        worst = max(ratios[:-1], key=lambda ratio: abs(ratio - 1))
        rows.append(
            {
                "exits": [list(chosen) for chosen in times.exits],
                "predicted_ms": predicted,
                "measured_ms": times.answers_ms,
                "intervals_ms": [list(interval) if interval else None for interval in times.intervals_ms],
                "ratios": ratios,
            }
        )
        name = " ".join(f"{placement}:{head}" for placement, head in times.exits)
        name = name if len(name) <= 60 else name[:57] + "..."
        print(f"{name:<60} {predicted[-1]:>12.3f} {times.answers_ms[-1]:>12.3f} {ratios[-1]:>7.3f} {worst:>10.3f}")
    summary = {
        "final": error_summary([row["ratios"][-1] for row in rows]),
        "final_drift_removed": error_summary([row["ratios"][-1] * drift for row in rows]),
        "exits": error_summary([ratio for row in rows for ratio in row["ratios"][:-1]]),
        "exits_drift_removed": error_summary([ratio * drift for row in rows for ratio in row["ratios"][:-1]]),
    }
    for what, errors in summary.items():
        print(
            f"{what.replace('_', ' '):<22} median error {errors['median_error']:.1%}, worst {errors['worst_error']:.1%}"
        )
    print(f"sum of the profile's parts over its plain backbone: {profile.protocol['sum_over_whole']}")
    print(f"plain backbone: {profile.whole.latency_ms:.3f} ms in the profile, {median(whole):.3f} ms now ({drift:.3f})")
    print(f"profile's verdict: {profile.verdict}")
    if options.json:
        document = {
            "condition": {key: profile.environment.identity.get(key) for key in profile.environment.identity},
            "model": options.model,
            "seed": options.seed,
            "date": profile.created,
            "verdict": profile.verdict.model_dump(mode="json"),
            "drift": drift,
            "sum_over_whole": profile.protocol["sum_over_whole"],
            "summary": summary,
            "configurations": rows,
        }
        write_json(options.json, document)
    return 0


def _show(done: float, text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{done:4.0%} {text:<60}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
