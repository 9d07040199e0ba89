"""Time the exact solver on random and on realistic problems.

    python scripts/bench_solver.py [--json FILE]

Random: latency and value of every head drawn alike. Realistic: values rise with depth, with noise, and better heads
are slower, so that thousands of choices lie within a thousandth of the best.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np

from exitsearch.search.exact import solve
from exitsearch.search.problem import Candidate, Problem, reduce_slowdown
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
                )
            )
    return Problem(
        candidates=tuple(candidates),
        final_ms=FULL_MS,
        final_value=0.95 if realistic else float(rng.uniform()),
        fallback=0.0,
        budget=parse_budget("uniform:10,110"),
        slowdown=reduce_slowdown(list(rng.lognormal(0, 0.1, SLOWDOWNS))) if noise else (),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    parser.add_argument("--seeds", type=int, default=3, help="problems of each kind (default 3)")
    options = parser.parse_args()
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
