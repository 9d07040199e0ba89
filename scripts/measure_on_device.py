"""Measure everything on a machine with a GPU: profiles in every condition, and predictions checked against paths.

    python scripts/measure_on_device.py --out measured --minutes 25

One condition after the other (the most wanted first), each in a process of its own: the profile goes to
OUT/profiles/<condition>.json, predicted over measured to OUT/prediction/<condition>.json, and a line to
OUT/summary.jsonl. What is already there is not measured again, so the same command goes on where the last one stopped.
A condition begins only while there is time for it. --device cpu --models test_vit tries the script without a GPU.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

MODELS = ("vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224", "vit_base_patch16_384")
DTYPES = ("fp32", "bf16", "fp16")
RUNTIMES = ("eager", "cudagraph", "compile")
BATCHES = ("1", "32")
PREDICTION = Path(__file__).with_name("bench_prediction.py")


def conditions(options: argparse.Namespace) -> Iterator[tuple[str, str, str, str]]:
    """(model, dtype, runtime, batch size), the most wanted first: runtimes and batches before dtypes before models."""
    for model, dtype in itertools.product(options.models, options.dtypes):
        for runtime, batch in itertools.product(options.runtimes, options.batch_sizes):
            yield model, dtype, runtime, batch


def measure(condition: tuple[str, str, str, str], options: argparse.Namespace, seconds: float) -> dict[str, object]:
    """Profile one condition and check its predictions; what went wrong is told, not raised."""
    model, dtype, runtime, batch = condition
    name = f"{model}__{options.device.split(':')[0]}__{dtype}__bs{batch}__{runtime}"
    profile, prediction = options.out / "profiles" / f"{name}.json", options.out / "prediction" / f"{name}.json"
    facts: dict[str, object] = {"condition": name}
    if profile.exists() and prediction.exists():
        return {**facts, "status": "there already"}
    command = [
        sys.executable, str(PREDICTION), "--model", model, "--device", options.device, "--dtype", dtype,
        "--batch-size", batch, "--runtime", runtime, "--configs", str(options.configs),
        "--max-seconds", str(options.seconds), "--profile-out", str(profile), "--json", str(prediction),
    ]  # fmt: skip
    if options.heads:
        command += ["--heads", options.heads]
    begin = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {**facts, "status": "no time left", "seconds": round(time.monotonic() - begin, 1)}
    facts["seconds"] = round(time.monotonic() - begin, 1)
    if done.returncode:
        # The last line of the error is its sentence; progress before it ends in carriage returns.
        said = done.stderr.strip().replace("\r", "\n").splitlines()
        return {**facts, "status": "failed", "error": said[-1] if said else f"exit status {done.returncode}"}
    found = json.loads(prediction.read_text())
    return {**facts, "status": "measured", "verdict": found["verdict"]["status"], **found["summary"]["final"]}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", type=_names, default=MODELS, metavar="A,B")
    parser.add_argument("--dtypes", type=_names, default=DTYPES, metavar="A,B")
    parser.add_argument("--runtimes", type=_names, default=RUNTIMES, metavar="A,B")
    parser.add_argument("--batch-sizes", type=_names, default=BATCHES, metavar="A,B")
    parser.add_argument("--heads", help="head types, with commas between; default: every type that fits")
    parser.add_argument("--configs", type=int, default=20, help="paths to check in each condition (default: 20)")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each profile, and each check (default: 20)")
    parser.add_argument("--minutes", type=float, default=25.0, help="for everything (default: 25)")
    options = parser.parse_args(arguments)
    end = time.monotonic() + 60 * options.minutes
    options.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for condition in conditions(options):
        left = end - time.monotonic()
        # Measuring takes the two time limits at least; making ready comes on top and is cut off by the time left.
        if left < 2 * options.seconds:
            print(f"time is up before {' '.join(condition)}; run the same command again to go on")
            break
        facts = measure(condition, options, left)
        failed += facts["status"] == "failed"
        print(json.dumps(facts), flush=True)
        if facts["status"] != "there already":
            with (options.out / "summary.jsonl").open("a") as file:
                file.write(json.dumps(facts) + "\n")
    return 1 if failed else 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


if __name__ == "__main__":
    sys.exit(main())
