"""Time the exact solver on random and on realistic problems, with and without limits, beside the solver of before.

    python scripts/bench_solver.py [--before REV] [--rounds N] [--limits] [--kinds none,params] [--sizes 24x12,48x12]
                                   [--seeds N] [--json FILE]

Random: latency and value of every head drawn alike. Realistic: values rise with depth, with noise, and better heads
are slower, so that thousands of choices lie within a thousandth of the best. Limits, of realistic problems: at most 6
exits, half the parameters, bytes or energy that the best choice takes without a limit, half of all three, and a least
value within half the full latency. The values by number of exits are found too, as a search does.

Each solve has a process of its own, on one thread, so that its peak memory is its own (the interpreter and the package
take some 40 MiB of it). Times are of the wall clock and, beside it, of the processor, which other programs change less.
With `--before` the package of an earlier revision is taken from git and solves the same problems in turn with this one
(before, now, before, now: `--rounds` times), of which the faster time counts; `now/before` is of processor times.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from exitsearch.search.problem import Candidate, Problem
from exitsearch.specs.budget import parse_budget
from exitsearch.specs.document import write_json

try:
    from exitsearch.search.solver.exact import solve
except ModuleNotFoundError:  # the package of `--before`, from when the solver had no room of its own
    from exitsearch.search.exact import solve  # type: ignore[import-not-found, no-redef]

SIZES = "12x7,24x12,48x12,96x24"
POLICIES = ("interruptible", "contract")
ROOT = Path(__file__).resolve().parents[1]
FULL_MS = 100.0
SLOWDOWNS = 300


def make_problem(placements: int, heads: int, *, realistic: bool, noise: bool, seed: int) -> Problem:
    """A backbone of 100 ms whose placements lie about equally far apart; budgets uniform from 10 to 110 ms."""
    rng = np.random.default_rng(seed)
    steps = rng.uniform(0.5, 1.5, placements + 1)
    arrival = np.cumsum(steps) / steps.sum() * FULL_MS
    cost = rng.uniform(0.05, 1.5, heads) * FULL_MS / (placements + 1)
    quality = rng.normal(0, 0.03, heads) + 0.05 * np.log(cost)
    candidates = []
    for placement in range(placements):
        depth = (placement + 1) / placements
        for head in range(heads):
            if realistic:
                head_ms = cost[head] * rng.uniform(0.95, 1.05)
                value = 0.95 - 0.75 * np.exp(-3 * depth) + quality[head] * (1 - depth) + rng.normal(0, 0.01)
            else:
                head_ms, value = rng.uniform(0, 0.3 * FULL_MS), rng.uniform()
            candidates.append(
                candidate_of(
                    placement=placement,
                    head=f"head{head:02d}",
                    arrival_ms=float(arrival[placement]),
                    head_ms=float(head_ms),
                    value=float(np.clip(value, 0, 1)),
                    params=int(1e5 * cost[head]),
                    # Neither in step with the parameters nor with the time, as with convolutions and attention.
                    memory_bytes=int(4e5 * cost[head] * rng.uniform(0.3, 3)),
                    head_mj=float(head_ms * rng.uniform(0.5, 1.5)),
                )
            )
    return Problem(
        candidates=tuple(candidates),
        final_ms=FULL_MS,
        final_value=0.95 if realistic else float(rng.uniform()),
        fallback=0.0,
        budget=parse_budget("uniform:10,110"),
        slowdown=tuple(rng.lognormal(0, 0.1, SLOWDOWNS).tolist()) if noise else (),
    )


def candidate_of(*, params: int, memory_bytes: int, head_mj: float, **others: Any) -> Candidate:
    """A candidate of this revision, or of one from before the table of resources."""
    takes: dict[str, Any] = {"params": params, "memory_bytes": memory_bytes, "head_mj": head_mj}
    return Candidate(**others, takes=takes) if hasattr(Problem, "key") else Candidate(**others, **takes)


def limited(problem: Problem, *, max_exits: int | None = None, floor: Any = None, **limits: float) -> Problem:
    """A problem of this revision with limits, or of one from before the table of resources.

    Args:
        floor: a budget in ms, and the least value within it.
        limits: by resource.
    """
    least = () if floor is None else (tuple(floor),)
    if hasattr(Problem, "key"):
        return replace(problem, max_exits=max_exits, limits=limits, min_values=least)
    former = {"params": "max_params", "memory": "max_memory_bytes", "energy": "max_energy_mj"}
    named: dict[str, Any] = {former[name]: most for name, most in limits.items()}
    return replace(problem, max_exits=max_exits, **named, **{"floors": least})


def limits_of(problem: Problem) -> dict[str, dict[str, Any]]:
    """Limits by their kind, as `limited` takes them."""
    free = solve(problem, by_count=False).choice
    chosen = problem.chosen(free)
    limits: dict[str, dict[str, Any]] = {
        "params": {"params": problem.params(free) // 2},
        "memory": {"memory": sum(c.takes["memory_bytes"] for c in chosen) // 2},
        "energy": {"energy": sum(c.takes["head_mj"] for c in chosen) / 2},
        "floor": {"floor": [FULL_MS / 2, problem.value_within(free, FULL_MS / 2)]},
    }
    return limits | {
        "all but floor": limits["params"] | limits["memory"] | limits["energy"],
        "6 exits": {"max_exits": 6},
    }


def solve_one(case: dict[str, Any]) -> dict[str, Any]:
    """Solve one problem and say how that went; runs in a process of its own."""
    problem = replace(make_problem(**case["problem"]), policy=case["policy"])
    problem = limited(problem, **case["limits"])
    started, worked = time.perf_counter(), time.process_time()
    solution = solve(problem)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "exits": len(solution.choice),
        "value": solution.value,
        "exact": solution.exact,
        "gap": solution.bound - solution.value,
    }


def in_process(case: dict[str, Any], package: Path) -> dict[str, Any]:
    """The same in a process that imports the package from a folder."""
    env = {**os.environ, "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--solve-one", json.dumps(case)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the solver in {package} failed on {case}:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def package_of(revision: str, folder: Path) -> Path:
    """Put the package of a revision into a folder."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", revision, "exitsearch"]
    done = subprocess.run(command, capture_output=True)
    if done.returncode:
        sys.exit(f"git knows no package at revision {revision}: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def measure(cases: list[dict[str, Any]], packages: dict[str, Path], *, rounds: int) -> dict[str, dict[str, Any]]:
    """What each package needs for some problems: the slowest, the largest, and whether all were proved."""
    runs: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in packages}
    for case in cases:
        turns = [{n: in_process(case, folder) for n, folder in packages.items()} for _ in range(rounds)]
        for name in packages:
            runs[name].append([found[name] for found in turns])
    rows = {}
    for name, problems in runs.items():
        every = [run for problem in problems for run in problem]
        rows[name] = {
            "exits": max(run["exits"] for run in every),
            "worst_s": max(min(run["seconds"] for run in problem) for problem in problems),
            "worst_cpu_s": max(min(run["cpu_seconds"] for run in problem) for problem in problems),
            "peak_mib": round(max(run["peak_mib"] for run in every)),
            "exact": all(run["exact"] for run in every),
            "worst_gap": max(run["gap"] for run in every),
        }
    if "before" in packages:
        pairs = list(zip(runs["now"], runs["before"], strict=True))
        rows["now"]["ratio"] = statistics.median(
            min(run["cpu_seconds"] for run in now) / min(run["cpu_seconds"] for run in before) for now, before in pairs
        )
        rows["now"]["same_value"] = all(abs(now[0]["value"] - old[0]["value"]) <= 1e-9 for now, old in pairs)
    return rows


def kinds_of_size(
    placements: int, heads: int, policy: str, *, seeds: int, only_limits: bool, names: list[str]
) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Name of the values, name of the limit, and the problems of each kind."""
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for seed in range(seeds):
        for values in ("random", "realistic"):
            fixed = {"placements": placements, "heads": heads, "realistic": values == "realistic", "noise": True}
            case: dict[str, Any] = {"problem": {**fixed, "seed": seed}, "policy": policy}
            limits: dict[str, dict[str, Any]] = {} if only_limits else {"none": {}}
            if values == "realistic" and names != ["none"]:
                limits |= limits_of(replace(make_problem(**case["problem"]), policy=policy))  # type: ignore[arg-type]
            for name, limit in limits.items():
                if names and name not in names:
                    continue
                kinds.setdefault((values, name), []).append({**case, "limits": limit})
    return [(values, name, cases) for (values, name), cases in kinds.items()]


def heading(*, before: bool) -> str:
    """The first line of the table, with columns of `figures`."""
    line = f"{'size':9}{'policy':15}{'values':11}{'limit':15}{'exits':>6}"
    line += f"{'worst s':>9}{'cpu s':>8}{'MiB':>6}  {'proved':8}{'gap':>9}"
    if before:
        line += f"{'before s':>10}{'cpu s':>8}{'MiB':>6}  {'proved':8}{'now/before':>10}  same value"
    return line


def figures(now: dict[str, Any], before: dict[str, Any] | None) -> str:
    """What `measure` found for one kind of problem, in columns."""
    line = f"{now['exits']:6}{now['worst_s']:9.2f}{now['worst_cpu_s']:8.2f}{now['peak_mib']:6}"
    line += f"  {now['exact']!s:8}{now['worst_gap']:9.2g}"
    if before is not None:
        line += f"{before['worst_s']:10.2f}{before['worst_cpu_s']:8.2f}{before['peak_mib']:6}"
        line += f"  {before['exact']!s:8}{now['ratio']:10.2f}  {now['same_value']}"
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    parser.add_argument("--seeds", type=int, default=3, help="problems of each kind (default 3)")
    parser.add_argument("--sizes", default=SIZES, help=f"placements x heads (default {SIZES})")
    parser.add_argument("--limits", action="store_true", help="only the problems with limits")
    parser.add_argument("--kinds", default="", metavar="LIMIT,...", help="only these limits, as none,params,6 exits")
    parser.add_argument("--before", metavar="REV", help="also time the solver of this git revision, in turn")
    parser.add_argument("--rounds", type=int, help="times of each solve (default 2 with --before, otherwise 1)")
    parser.add_argument("--solve-one", metavar="JSON", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.solve_one:
        print(json.dumps(solve_one(json.loads(options.solve_one))))
        return
    print(heading(before=bool(options.before)))
    rows, rounds = [], options.rounds or (2 if options.before else 1)
    names = [name.strip() for name in options.kinds.split(",") if name.strip()]
    with tempfile.TemporaryDirectory() as folder:
        packages = {"before": package_of(options.before, Path(folder))} if options.before else {}
        packages["now"] = ROOT
        for size in options.sizes.split(","):
            placements, heads = (int(number) for number in size.split("x"))
            for policy in POLICIES:
                asked = {"seeds": options.seeds, "only_limits": options.limits, "names": names}
                kinds = kinds_of_size(placements, heads, policy, **asked)
                for values, limit, cases in kinds:
                    found = measure(cases, packages, rounds=rounds)
                    now, old = found["now"], found.get("before")
                    line = f"{size:9}{policy:15}{values:11}{limit:15}" + figures(now, old)
                    print(line, flush=True)
                    what = {"placements": placements, "heads": heads, "policy": policy, "values": values}
                    rows.append({**what, "noise": True, "limit": limit, **now, "before": old})
    if options.json:
        facts = {"seeds": options.seeds, "slowdowns": SLOWDOWNS, "before": options.before}
        write_json(options.json, {"schema_version": 2, **facts, "runs": rows})


if __name__ == "__main__":
    main()
