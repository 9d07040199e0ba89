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
import re
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import figures
import numpy as np

import exitsearch
from exitsearch.errors import ExitSearchError, InputError
from exitsearch.search.problem import Candidate, Problem
from exitsearch.specs.budget import parse_budget

if TYPE_CHECKING or (Path(exitsearch.__file__).parent / "search" / "solver").is_dir():
    from exitsearch.search.solver.exact import solve
else:  # the package of `--before`, from when the solver had no room of its own
    from exitsearch.search.exact import solve

if TYPE_CHECKING:  # not in every package of `--before`
    from exitsearch.specs.question.request import Policy

SIZES = "12x7,24x12,48x12,96x24"
POLICIES: tuple[Policy, ...] = ("interruptible", "contract")
# As `limits_of` names them, and no limit.
KINDS = ("none", "params", "memory", "energy", "floor", "all but floor", "6 exits")
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
    named: dict[str, Any] = {former[name]: most for name, most in limits.items()} | {"floors": least}
    return replace(problem, max_exits=max_exits, **named)


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


def peak_mib() -> float:
    """Most memory that this process has had, in MiB.

    Linux starts `ru_maxrss` at the peak of the process that began this one, so that it is only asked where there is no
    `/proc`.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        status = ""
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return (int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024


def modules_elsewhere() -> list[str]:
    """Modules of the package that were not loaded from its folder.

    An editable installation hands out its own for those that the package of another revision lacks, which would then be
    timed as that revision's.
    """
    folder = Path(exitsearch.__file__).parent
    files = {name: module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "exitsearch"}
    return sorted(name for name, file in files.items() if file is None or not Path(file).is_relative_to(folder))


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
        "peak_mib": peak_mib(),
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
        raise ExitSearchError(f"the solver in {package} failed on {case}:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def package_of(revision: str, folder: Path) -> Path:
    """Put the package of a revision into a folder."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", revision, "exitsearch"]
    done = subprocess.run(command, capture_output=True)
    if done.returncode:
        raise ExitSearchError(f"git knows no package at revision {revision}: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def measure(cases: list[dict[str, Any]], packages: Mapping[str, Path], *, rounds: int) -> dict[str, dict[str, Any]]:
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
    placements: int, heads: int, policy: Policy, *, options: argparse.Namespace
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The problems of each kind that is asked for, by name of the values and of the limit."""
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for seed in range(options.seeds):
        for values in ("random", "realistic"):
            fixed = {"placements": placements, "heads": heads, "realistic": values == "realistic", "noise": True}
            case: dict[str, Any] = {"problem": {**fixed, "seed": seed}, "policy": policy}
            limits: dict[str, dict[str, Any]] = {} if options.limits else {"none": {}}
            if values == "realistic" and options.kinds != ("none",):
                limits |= limits_of(replace(make_problem(**case["problem"]), policy=policy))
            for name, limit in limits.items():
                if not options.kinds or name in options.kinds:
                    kinds.setdefault((values, name), []).append({**case, "limits": limit})
    return kinds


def measure_all(options: argparse.Namespace, packages: Mapping[str, Path], rounds: int) -> Iterator[dict[str, Any]]:
    """A row for each kind of problem, as JSON keeps it."""
    for placements, heads in options.sizes:
        for policy in POLICIES:
            for (values, limit), cases in kinds_of_size(placements, heads, policy, options=options).items():
                found = measure(cases, packages, rounds=rounds)
                what = {"placements": placements, "heads": heads, "policy": policy, "values": values}
                yield {**what, "noise": True, "limit": limit, **found["now"], "before": found.get("before")}


def heading(*, before: bool) -> figures.Table:
    """The table on the terminal, with the solver of before where there is one."""
    columns = {"size": "<8", "policy": "<14", "values": "<10", "limit": "<14", "exits": "5", "worst s": "8.2f"}
    columns |= {"cpu s": "7.2f", "MiB": "5", "proved": "6", "gap": "8.2g"}
    if before:
        columns |= {"before s": "9.2f", "before cpu s": "12.2f", "before MiB": "10", "before proved": "13"}
        columns |= {"now/before": "10.2f", "same value": "10"}
    return figures.Table(columns)


def cells(row: Mapping[str, Any]) -> list[object]:
    """A row of `measure_all` in the columns of `heading`."""
    needs = ("worst_s", "worst_cpu_s", "peak_mib", "exact")
    found = [f"{row['placements']}x{row['heads']}", *(row[name] for name in ("policy", "values", "limit", "exits"))]
    found += [row[name] for name in (*needs, "worst_gap")]
    if (old := row["before"]) is not None:
        found += [*(old[name] for name in needs), row["ratio"], row["same_value"]]
    return found


def check(options: argparse.Namespace) -> None:
    """Refuse options that ask for nothing.

    Raises:
        InputError: one of them does.
    """
    for name in ("seeds", "rounds"):
        if (found := getattr(options, name)) is not None and found < 1:
            raise InputError(f"--{name} must be 1 or more; found {found}")
    if unknown := set(options.kinds) - set(KINDS):
        raise InputError(f"unknown kinds of limits: {', '.join(sorted(unknown))}; known: {', '.join(KINDS)}")


def work(options: argparse.Namespace) -> int:
    if options.solve_one:
        found = solve_one(json.loads(options.solve_one))
        if strangers := modules_elsewhere():
            raise ExitSearchError(f"not of {exitsearch.__file__}: {', '.join(strangers)}")
        print(json.dumps(found))
        return 0
    check(options)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        packages = {"before": package_of(options.before, Path(folder))} if options.before else {}
        packages["now"] = ROOT
        table = heading(before=bool(options.before))
        for row in measure_all(options, packages, options.rounds or (2 if options.before else 1)):
            rows.append(row)
            table.row(*cells(row))
    facts = {"seeds": options.seeds, "slowdowns": SLOWDOWNS, "before": options.before, "runs": rows}
    figures.write(options, facts, schema_version=2)
    return 0


def sizes(text: str) -> tuple[tuple[int, int], ...]:
    """Placements x heads with commas between, for argparse."""
    try:
        pairs = [tuple(int(number) for number in size.split("x")) for size in figures.names(text)]
        return tuple((placements, heads) for placements, heads in pairs)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"placements x heads with commas between, as 12x7,24x12; found {text!r}"
        ) from None


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument("--seeds", type=int, default=3, help="problems of each kind (default 3)")
    parser.add_argument("--sizes", type=sizes, default=SIZES, help=f"placements x heads (default {SIZES})")
    parser.add_argument("--limits", action="store_true", help="only the problems with limits")
    parser.add_argument(
        "--kinds", type=figures.names, default="", metavar="LIMIT,...", help=f"only these of {', '.join(KINDS)}"
    )
    parser.add_argument("--before", metavar="REV", help="also time the solver of this git revision, in turn")
    parser.add_argument("--rounds", type=int, help="times of each solve (default 2 with --before, otherwise 1)")
    parser.add_argument("--solve-one", metavar="JSON", help=argparse.SUPPRESS)
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
