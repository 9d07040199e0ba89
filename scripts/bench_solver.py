"""Time the exact solver on random and on realistic problems.

    python scripts/bench_solver.py [--limits] [--json FILE]

Random: latency and value of every head drawn alike. Realistic: values rise with depth, with noise, and better heads
are slower, so that thousands of choices lie within a thousandth of the best.

With `--limits` the realistic problems with noise alone, under each limit of the search and several at once: half the
parameters, bytes, energy that the best choice takes without a limit, and a least value within half the full latency.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np

from exitsearch.search.exact import solve
from exitsearch.search.problem import Candidate, Problem
from exitsearch.specs.budget import parse_budget
from exitsearch.specs.document import write_json

SIZES = ((12, 7), (24, 12), (48, 12))
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
                Candidate(
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


def limited(problem: Problem) -> dict[str, Problem]:
    """A problem under each kind of limit, by name."""
    free = solve(problem, by_count=False).choice
    chosen = problem.chosen(free)
    limits = {
        "params": {"max_params": problem.params(free) // 2},
        "memory": {"max_memory_bytes": sum(c.memory_bytes for c in chosen) // 2},
        "energy": {"max_energy_mj": sum(c.head_mj for c in chosen) / 2},
        "floor": {"floors": ((FULL_MS / 2, problem.value_within(free, FULL_MS / 2)),)},
    }
    limits["all but floor"] = limits["params"] | limits["memory"] | limits["energy"]
    return {name: replace(problem, **limit) for name, limit in limits.items()}


def time_limits(seeds: int) -> list[dict[str, object]]:
    """Print and return how long each limit takes."""
    print(f"{'placements x heads':20}{'policy':16}{'limit':16}{'exits':>6}{'worst s':>9}  {'ok':8}{'bound off by':>12}")
    rows: list[dict[str, object]] = []
    for placements, heads in SIZES:
        for policy in ("interruptible", "contract"):
            kinds: dict[str, list[tuple[float, int, bool, float]]] = {}
            for seed in range(seeds):
                problem = make_problem(placements, heads, realistic=True, noise=True, seed=seed)
                for name, hard in limited(replace(problem, policy=policy)).items():
                    started = time.perf_counter()
                    solution = solve(hard, by_count=False)
                    seconds = time.perf_counter() - started
                    found = (seconds, len(solution.choice), solution.exact, solution.bound - solution.value)
                    kinds.setdefault(name, []).append(found)
                    if seed + 1 < seeds:
                        continue
                    worst, exits, exact, gap = (list(column) for column in zip(*kinds[name], strict=True))
                    row = {
                        "placements": placements,
                        "heads": heads,
                        "policy": policy,
                        "limit": name,
                        "exits": max(exits),
                        "worst_s": max(worst),
                        "exact": all(exact),
                        "worst_gap": max(gap),
                    }
                    rows.append(row)
                    print(
                        f"{f'{placements} x {heads}':20}{policy:16}{name:16}{row['exits']:6}{row['worst_s']:9.2f}  "
                        f"{row['exact']!s:8}{row['worst_gap']:12.2g}",
                        flush=True,
                    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    parser.add_argument("--seeds", type=int, default=3, help="problems of each kind (default 3)")
    parser.add_argument("--limits", action="store_true", help="time the limits of the search instead")
    options = parser.parse_args()
    if options.limits:
        rows = time_limits(options.seeds)
        if options.json:
            write_json(options.json, {"schema_version": 1, "seeds": options.seeds, "limits": rows})
        return
    print(
        f"{'placements x heads':20}{'values':12}{'noise':8}{'policy':16}{'most exits':12}{'exits':>6}{'worst s':>9}  ok"
    )
    rows = []
    for placements, heads in SIZES:
        for realistic, noise in ((False, False), (False, True), (True, False), (True, True)):
            for policy in ("interruptible", "contract"):
                for limit in (None, 6):
                    seconds, exits, exact = [], [], []
                    for seed in range(options.seeds):
                        problem = make_problem(placements, heads, realistic=realistic, noise=noise, seed=seed)
                        problem = replace(problem, policy=policy, max_exits=limit)
                        started = time.perf_counter()
                        solution = solve(problem)
                        seconds.append(time.perf_counter() - started)
                        exits.append(len(solution.choice))
                        exact.append(solution.exact)
                    row = {
                        "placements": placements,
                        "heads": heads,
                        "values": "realistic" if realistic else "random",
                        "noise": noise,
                        "policy": policy,
                        "max_exits": limit,
                        "exits": max(exits),
                        "worst_s": max(seconds),
                        "exact": all(exact),
                    }
                    rows.append(row)
                    print(
                        f"{f'{placements} x {heads}':20}{row['values']:12}{noise!s:8}{policy:16}{limit!s:12}"
                        f"{row['exits']:6}{row['worst_s']:9.2f}  {row['exact']}",
                        flush=True,
                    )
    if options.json:
        write_json(options.json, {"schema_version": 1, "seeds": options.seeds, "slowdowns": SLOWDOWNS, "runs": rows})


if __name__ == "__main__":
    main()
