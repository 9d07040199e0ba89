"""The user's first two commands, as they stand in the README."""

from __future__ import annotations

import json
import subprocess
import sys

from cuda_steps.step import Bench, Step


def commands(bench: Bench) -> None:
    """Profile, then search; what is there already from a call that was cut off is not made again."""
    bench.folder.mkdir(parents=True, exist_ok=True)
    profile, search = ["profile", "--device", bench.device], ["search", "--budget-dist", "uniform:10,80"]
    if bench.quick:
        profile += ["--heads", "linear", "--placements", "0,6", "--max-seconds", "0.02"]
        search += ["--heads", "linear", "--placements", "0,6", "--no-guard", "--trials", "2"]
    if not list((bench.folder / "profiles").glob("*.json")):
        _run(bench, profile)
    if not bench.faults:
        said = _run(bench, search)
        bench.figures["search"] = said.splitlines()[-12:]
    if not bench.faults:
        chosen = json.loads((bench.folder / "exitsearch-out" / "chosen.json").read_text())
        bench.figures["exits"] = len(chosen["exits"])
        bench.figures["latency_ms"] = chosen["latency_ms"]
        written = next((bench.folder / "profiles").glob("*.json"))
        verdict = json.loads(written.read_text())["verdict"]
        bench.figures |= {"profile": written.name, "verdict": verdict}
        bench.require_time(verdict["status"] != "invalid", f"the profile's verdict is invalid: {verdict['reasons']}")


def _run(bench: Bench, command: list[str]) -> str:
    """Run one command in the step's folder; a failure is a fault with its last line."""
    done = subprocess.run(
        [sys.executable, "-m", "exitsearch", *command], cwd=bench.folder, capture_output=True, text=True
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        bench.faults.append(f"exitsearch {' '.join(command)} ended with {done.returncode}: {last}")
    return done.stdout


COMMANDS = Step("commands", 240, commands)
