"""Whether the exact solver is right: random problems rich in ties against trying all choices.

    python scripts/check_exact.py [--problems N] [--seed S] [--json FILE]

Problems of at most 4 placements and 3 heads, with equal values, times, parameters and bytes, heads that cost nothing,
budgets and least values met exactly, all limits at once, and 0, 1, 64, 65 and 3,000 slow-down samples. Every choice is
valued and checked against the limits by formulas that share nothing with the package (`tests/search/exhaustive.py`).

    difference    largest between a value found (with any number of exits, or with fewer) and the true best
    ties          choices that have more exits, or as many and more parameters, than another of the same value
    feasibility   a false "no choice keeps to all limits", or a choice that does not keep to them

Exit status 1 when a difference exceeds 1e-9 or anything else is wrong; the first wrong problems are printed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from exitsearch.specs.document import write_json

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "search"))
from exhaustive import SAMPLES, Verdict, judge, tied_problem

POLICIES = ("interruptible", "contract")
MOST = 1e-9
SHOWN = 5


def right(verdict: Verdict) -> bool:
    return verdict.difference <= MOST and verdict.tie and not verdict.wrong


def summary(policy: str, samples: int, verdicts: list[Verdict]) -> dict[str, object]:
    return {
        "policy": policy,
        "samples": samples,
        "problems": len(verdicts),
        "feasible": sum(verdict.feasible for verdict in verdicts),
        "unproved": sum(not verdict.proved for verdict in verdicts),
        "difference": max(verdict.difference for verdict in verdicts),
        "ties": sum(not verdict.tie for verdict in verdicts),
        "feasibility": sum("assertion" not in verdict.wrong and bool(verdict.wrong) for verdict in verdicts),
        "assertions": sum("assertion" in verdict.wrong for verdict in verdicts),
        "wrong": sum(not right(verdict) for verdict in verdicts),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=10_000, help="of each policy (default 10,000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first problem (default 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    wrong: list[str] = []
    columns = ("problems", "feasible", "unproved", "difference", "ties", "feasibility", "assertions", "wrong")
    print(f"{'policy':15}{'samples':>8}" + "".join(f"{name:>12}" for name in columns))
    for policy in POLICIES:
        for samples in SAMPLES:
            verdicts = []
            for seed in range(options.seed, options.seed + -(-options.problems // len(SAMPLES))):
                verdicts.append(judge(tied_problem(seed, policy=policy, samples=samples)))  # type: ignore[arg-type]
                if not right(verdicts[-1]):
                    wrong.append(f"seed {seed}, {policy}, {samples} samples: {verdicts[-1]}")
            row = summary(policy, samples, verdicts)
            rows.append(row)
            figures = [f"{row[name]:12.1e}" if name == "difference" else f"{row[name]:12}" for name in columns]
            print(f"{policy:15}{samples:8}" + "".join(figures), flush=True)
    for line in wrong[:SHOWN]:
        print(line)
    if options.json:
        write_json(
            options.json, {"schema_version": 1, "problems": options.problems, "seed": options.seed, "runs": rows}
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
