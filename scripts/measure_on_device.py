"""Measure everything on a machine with a GPU: profiles in every condition, and predictions checked against paths.

    python scripts/measure_on_device.py --out measured --archive-to .     # at most 9 minutes; again, to go on

One condition after the other (the most wanted first), each in a process of its own: the profile goes to
OUT/profiles/<condition>.json, predicted over measured to OUT/prediction/<condition>.json, and a line to
OUT/summary.jsonl. What is measured or failed is not tried again (--again tries failures), so the same command goes on
where the last one stopped; a condition that was cut off comes first and has the whole call to itself.

At the end of each call what no archive holds yet is packed into one, ARCHIVE_TO/measured-<N>.tar.xz of at most 16 MB,
the rest into the next call's. Unpacked over an empty OUT, in order, they let another machine go on.
--device cpu --models test_vit tries the script without a GPU.
"""

from __future__ import annotations

import argparse
import itertools
import json
import lzma
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import figures

from exitsearch.specs.document import write_json

MODELS = (
    "vit_tiny_patch16_224",
    "vit_small_patch16_224",
    "vit_base_patch16_224",
    "resnet50",
    "swin_tiny_patch4_window7_224",
    "vit_base_patch16_384",
    "efficientnet_b0",
    "levit_256",
)
DTYPES = ("fp32", "bf16", "fp16")
RUNTIMES = ("eager", "cudagraph", "compile")
BATCHES = ("1", "32")
PREDICTION = Path(__file__).with_name("bench_prediction.py")

SUMMARY, PACKED = "summary.jsonl", "packed.json"
LARGEST_ARCHIVE = 16_000_000
# Room for the tar's own blocks, the summary and the list of what is packed.
_ARCHIVE_ROOM = 200_000
# Making ready (weights, captures, compilations) before the two time limits of a condition begin.
READY_S = {"eager": 15.0, "cudagraph": 20.0, "compile": 100.0}
PACKING_S = 15.0
# A condition that had so much time to itself and was cut off would be cut off every time.
ENOUGH_S = 7.5 * 60

Condition = tuple[str, str, str, str]


def conditions(options: argparse.Namespace) -> Iterator[Condition]:
    """(model, dtype, runtime, batch size), the most wanted first: runtimes and batches before dtypes before models."""
    for model, dtype in itertools.product(options.models, options.dtypes):
        for runtime, batch in itertools.product(options.runtimes, options.batch_sizes):
            yield model, dtype, runtime, batch


def name_of(condition: Condition, device: str) -> str:
    """The condition in the words of a profile's file name."""
    model, dtype, runtime, batch = condition
    return f"{model}__{device.split(':')[0]}__{dtype}__bs{batch}__{runtime}"


def statuses(out: Path) -> dict[str, str]:
    """The last status of every condition that was tried."""
    return {row["condition"]: row["status"] for row in figures.recorded(out / SUMMARY)}


def left_over(options: argparse.Namespace) -> list[Condition]:
    """What remains to be measured, first what was cut off."""
    known = statuses(options.out)
    done = {"measured"} if options.again else {"measured", "failed"}
    left = [c for c in conditions(options) if known.get(name_of(c, options.device)) not in done]
    return sorted(left, key=lambda c: known.get(name_of(c, options.device)) != "cut off")


def measure(condition: Condition, options: argparse.Namespace, seconds: float) -> dict[str, object]:
    """Profile one condition and check its predictions; what went wrong is told, not raised."""
    model, dtype, runtime, batch = condition
    name = name_of(condition, options.device)
    profile, prediction = options.out / "profiles" / f"{name}.json", options.out / "prediction" / f"{name}.json"
    facts: dict[str, object] = {"condition": name}
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
        spent = time.monotonic() - begin
        # A profile without its check is not measured.
        profile.unlink(missing_ok=True)
        if spent >= ENOUGH_S:
            return {**facts, "status": "failed", "seconds": round(spent, 1), "error": "takes longer than one call"}
        return {**facts, "status": "cut off", "seconds": round(spent, 1)}
    facts["seconds"] = round(time.monotonic() - begin, 1)
    if done.returncode:
        # The last line of the error is its sentence; progress before it ends in carriage returns.
        said = done.stderr.strip().replace("\r", "\n").splitlines()
        return {**facts, "status": "failed", "error": said[-1] if said else f"exit status {done.returncode}"}
    found = json.loads(prediction.read_text())
    return {**facts, "status": "measured", "verdict": found["verdict"]["status"], **found["summary"]["final"]}


def pack(out: Path, folder: Path, *, largest: int = LARGEST_ARCHIVE) -> Path | None:
    """Put what no archive holds yet into a new one, as much of it as fits; None when there is nothing.

    Args:
        out: what was measured.
        folder: where the archive goes.
        largest: bytes of the archive.
    """
    packed: dict[str, int] = json.loads((out / PACKED).read_text()) if (out / PACKED).exists() else {}
    names = sorted(
        {path.stem for path in (out / "prediction").glob("*.json")} - set(packed),
        key=lambda name: (out / "prediction" / f"{name}.json").stat().st_mtime,
    )
    taken, room = [], largest - _ARCHIVE_ROOM
    for name in names:
        files = [out / kind / f"{name}.json" for kind in ("profiles", "prediction")]
        # Alone each takes at least as much as beside others.
        size = sum(len(lzma.compress(file.read_bytes())) + 1024 for file in files)
        if size > largest - _ARCHIVE_ROOM:
            print(f"{name} alone is larger than an archive may be; it stays in {out}", file=sys.stderr)
        elif size <= room:
            taken.append(name)
            room -= size
    if not taken:
        return None
    number = 1 + max(packed.values(), default=0)
    write_json(out / PACKED, packed | dict.fromkeys(taken, number))
    path = folder / f"measured-{number}.tar.xz"
    folder.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".half")
    with tarfile.open(half, "w:xz") as archive:
        for inside in (
            SUMMARY,
            PACKED,
            *(f"{kind}/{name}.json" for name in taken for kind in ("profiles", "prediction")),
        ):
            archive.add(out / inside, arcname=inside)
    assert half.stat().st_size <= largest
    half.rename(path)
    return path


def work(options: argparse.Namespace) -> int:
    end = time.monotonic() + 60 * options.minutes - PACKING_S
    options.out.mkdir(parents=True, exist_ok=True)
    rows, left = [], left_over(options)
    while left:
        remaining = end - time.monotonic()
        if remaining < 2 * options.seconds + READY_S.get(left[0][2], 0.0):
            print(f"{len(left)} left; run the same command again to go on", file=sys.stderr)
            break
        rows.append(measure(left.pop(0), options, remaining))
        figures.record(options.out / SUMMARY, rows[-1])
    archive = pack(options.out, options.archive_to or options.out)
    if archive is not None:
        print(f"packed {archive} ({archive.stat().st_size / 1e6:.1f} MB)", file=sys.stderr)
    waiting = [name_of(condition, options.device) for condition in left]
    figures.write(options, {"runs": rows, "left": waiting, "archive": None if archive is None else archive.name})
    return 1 if any(row["status"] == "failed" for row in rows) else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__, json_help="write what this call measured here too")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where everything measured goes")
    parser.add_argument("--archive-to", type=Path, metavar="DIR", help="where archives go (default: OUT)")
    figures.add_option(parser, "--device", default="cuda")
    lists = {"models": MODELS, "dtypes": DTYPES, "runtimes": RUNTIMES, "batch-sizes": BATCHES}
    for name, every in lists.items():
        shown = f"default: {','.join(every)}"
        parser.add_argument(f"--{name}", type=figures.names, default=every, metavar="A,B", help=shown)
    figures.add_options(parser, "--heads")
    parser.add_argument("--configs", type=int, default=20, help="paths to check in each condition (default: 20)")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each profile, and each check (default: 20)")
    parser.add_argument("--minutes", type=float, default=9.0, help="for this call (default: 9)")
    parser.add_argument("--again", action="store_true", help="try again what failed")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
