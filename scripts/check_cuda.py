"""Acceptance of a GPU: everything that was only tested with fakes, shown on the real thing, the most telling first.

    python scripts/check_cuda.py --out cuda-check          # at most 9 minutes; again, to go on where it stopped
    python scripts/check_cuda.py --out try --device cpu    # the steps that make sense without a GPU, at their smallest

Prints and appends one JSON line for each step to OUT/steps.jsonl: {"step", "status", "seconds", "faults", "figures"},
with status `passed`, `failed` (ran, and something is not as it must be, or broke), `skipped` (makes no sense here) or
`cut off` (no time left; begun again by the next call). A step that is passed, failed or skipped is not run again unless
`--steps` names it. Each runs in a process of its own: what ends one (a sticky CUDA error, a hang) ends no other.

    environment          what the driver tells while the GPU works
    clock                units of 1:2:4 are measured as such, on another stream and another device too
    units:MODEL:RUNTIME  every unit computes what eager does, with random subsets of heads and many replays
    session:MODEL        graphs answer what eager does, twice as fast, within deadlines, and when interrupted
    commands             the README's first two commands
    prediction:...       predicted over measured by number of exits: none, at most 2, 3 to 7, 8 and more
    neighbour ...        the verdict names who disturbs, and nobody else
    guard, repeatability, energy (parts over whole), train-heads killed and resumed

Exit status 0 when nothing failed (steps may be left), 1 when a step failed, 2 for wrong input.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import figures
from cuda_steps import STEPS, Step
from cuda_steps.step import Bench, Skipped

from exitsearch.errors import ExitSearchError, InputError

RECORD = "steps.jsonl"
# A step that had so much time to itself and was cut off would be cut off every time.
ENOUGH_S = 8 * 60.0


def do_step(step: Step, *, device: str, quick: bool, out: Path) -> dict[str, Any]:
    """Run one step in this process; what went wrong is told, not raised."""
    bench = Bench(device, quick, out / "work" / step.name.replace(":", "_").replace(" ", "_"))
    begin, status = time.monotonic(), "passed"
    try:
        step.run(bench)
    except Skipped as reason:
        status, bench.figures = "skipped", {"why": str(reason)}
    except Exception as error:  # whatever it is, the other steps must be tried
        first = (str(error).strip().splitlines() or ["no message"])[0]
        bench.faults.append(first if isinstance(error, ExitSearchError) else f"{type(error).__name__}: {first}")
    return {
        "step": step.name,
        "status": "failed" if bench.faults else status,
        "seconds": round(time.monotonic() - begin, 1),
        "judged": not quick,
        "faults": bench.faults,
        "figures": bench.figures,
    }


def run_apart(step: Step, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Run one step in a process of its own, for so many seconds at most."""
    command = [sys.executable, __file__, "--step", step.name, "--device", options.device, "--out", str(options.out)]
    begin = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        try:
            said, complaint = running.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            # Its children with it: a neighbour on the GPU would disturb what comes next.
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
            spent = round(time.monotonic() - begin, 1)
            status, faults = ("failed", [f"not done after {spent:.0f} s"]) if spent >= ENOUGH_S else ("cut off", [])
            return {"step": step.name, "status": status, "seconds": spent, "faults": faults, "figures": {}}
    try:
        found: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    except (IndexError, ValueError):
        last = (complaint.strip().splitlines() or ["nothing was said"])[-1]
        spent = round(time.monotonic() - begin, 1)
        fault = f"its process ended with {running.returncode}: {last}"
        return {"step": step.name, "status": "failed", "seconds": spent, "faults": [fault], "figures": {}}
    return found


def done_before(out: Path) -> dict[str, str]:
    """Status of every step that an earlier call finished; the last line of each counts."""
    found = {row["step"]: row["status"] for row in figures.recorded(out / RECORD)}
    return {name: status for name, status in found.items() if status != "cut off"}


def chosen_steps(text: str | None) -> list[Step]:
    """The steps of a list with commas; a name stands for all that begin with it and a colon too.

    Raises:
        InputError: there is no such step.
    """
    if text is None:
        return list(STEPS)
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if not any(step.name == name or step.name.startswith(f"{name}:") for step in STEPS):
            raise InputError(f"--steps: there is no step {name!r}; there are {', '.join(s.name for s in STEPS)}")
    return [step for step in STEPS if any(step.name == name or step.name.startswith(f"{name}:") for name in wanted)]


def run_all(options: argparse.Namespace) -> int:
    """Run what is left, while there is time."""
    end = time.monotonic() + 60 * options.minutes
    known = {} if options.steps else done_before(options.out)
    steps, left, rows = chosen_steps(options.steps), [], []
    options.out.mkdir(parents=True, exist_ok=True)
    statuses = {step.name: known[step.name] for step in steps if step.name in known}
    for step in steps:
        if step.name in known:
            continue
        remaining = end - time.monotonic()
        if remaining < (1 if _quick(options.device) else step.needs_s):
            left.append(step.name)
            continue
        row = run_apart(step, options, remaining)
        figures.record(options.out / RECORD, row)
        rows.append(row)
        statuses[step.name] = row["status"]
        if row["status"] == "cut off":
            left.append(step.name)
    counts = {status: list(statuses.values()).count(status) for status in sorted(set(statuses.values()))}
    print(", ".join(f"{count} {status}" for status, count in counts.items()) or "nothing was run", file=sys.stderr)
    if left:
        print(f"{len(left)} left ({', '.join(left)}); run the same command again to go on", file=sys.stderr)
    figures.write(options, {"runs": rows, "statuses": statuses, "left": left})
    return 1 if "failed" in statuses.values() else 0


def _quick(device: str) -> bool:
    """Whether steps run at their smallest, to try them; a GPU's times are always measured and judged."""
    return device == "cpu"


def work(options: argparse.Namespace) -> int:
    options.out = options.out.absolute()
    if "PYTHONPATH" in os.environ:
        # Some commands run in a folder of their own.
        paths = os.environ["PYTHONPATH"].split(os.pathsep)
        os.environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in paths)
    if options.list:
        print("\n".join(step.name for step in STEPS))
        return 0
    if options.step:
        step = next(step for step in STEPS if step.name == options.step)
        print(json.dumps(do_step(step, device=options.device, quick=_quick(options.device), out=options.out)))
        return 0
    return run_all(options)


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__, json_help="write what this call found here too")
    parser.add_argument("--out", type=Path, default=Path("cuda-check"), metavar="DIR", help="default: cuda-check")
    figures.add_option(parser, "--device", default="cuda", help="cuda, cuda:N, or cpu to try the steps")
    parser.add_argument("--minutes", type=float, default=9.0, help="for this call (default: 9)")
    parser.add_argument("--steps", metavar="A,B", help="only these, done before or not; prediction means prediction:*")
    parser.add_argument("--list", action="store_true", help="print the steps' names")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
