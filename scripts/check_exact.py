"""Whether the exact solver is right: random problems rich in ties against trying all choices.

    python scripts/check_exact.py [--problems N] [--seed S] [--json FILE]

Problems of at most 4 placements and 3 heads, with equal values, times, parameters and bytes, heads that cost nothing,
budgets and least values met exactly, all limits at once, and 0, 1, 64, 65 and 3,000 slow-down samples. Every choice is
valued and checked against the limits by formulas that share nothing with the package (`exhaustive.py`).

    difference    largest between a value found (with any number of exits, or with fewer) and the true best; none where
                  a solution has no value, because it breaks a limit or the solver an assertion
    ties          choices that have more exits, or as many and more parameters, than another of the same value
    feasibility   a false "no choice keeps to all limits", or a choice that does not keep to them

Exit status 1 when a difference exceeds 1e-9 or anything else is wrong; the first wrong problems are printed.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Sequence
from typing import Any

import figures
from exhaustive import SAMPLES, Verdict, judge, tied_problem

from exitsearch.cli.console import progress
from exitsearch.errors import InputError
from exitsearch.specs.question.request import Policy

POLICIES: tuple[Policy, ...] = ("interruptible", "contract")
MOST = 1e-9
SHOWN = 5
COLUMNS = {"policy": "<14", "samples": "8", "problems": "11", "feasible": "11", "unproved": "11", "difference": "11.1e"}
COLUMNS |= {"ties": "11", "feasibility": "11", "assertions": "11", "wrong": "11"}


def right(verdict: Verdict) -> bool:
    return verdict.difference <= MOST and verdict.tie and not verdict.wrong


def judge_all(seeds: range, *, policy: Policy, samples: int) -> list[Verdict]:
    """One verdict for each seed, in their order."""
    verdicts = []
    with progress(f"{policy}, {samples} samples") as report:
        for seed in seeds:
            verdicts.append(judge(tied_problem(seed, policy=policy, samples=samples)))
            report(len(verdicts) / len(seeds), f"{len(verdicts)} of {len(seeds)}")
    return verdicts


def summary(verdicts: list[Verdict], *, policy: Policy, samples: int) -> dict[str, Any]:
    difference = max(verdict.difference for verdict in verdicts)
    return {
        "policy": policy,
        "samples": samples,
        "problems": len(verdicts),
        "feasible": sum(verdict.feasible for verdict in verdicts),
        "unproved": sum(not verdict.proved for verdict in verdicts),
        "difference": difference if math.isfinite(difference) else None,
        "ties": sum(not verdict.tie for verdict in verdicts),
        "feasibility": sum("assertion" not in verdict.wrong and bool(verdict.wrong) for verdict in verdicts),
        "assertions": sum("assertion" in verdict.wrong for verdict in verdicts),
        "wrong": sum(not right(verdict) for verdict in verdicts),
    }


def work(options: argparse.Namespace) -> int:
    if options.problems < 1:
        raise InputError(f"--problems must be 1 or more; found {options.problems}")
    # The problems of a policy are spread over the numbers of samples, each at least as often as asked.
    seeds = range(options.seed, options.seed + -(-options.problems // len(SAMPLES)))
    rows, wrong = [], []
    table = figures.Table(COLUMNS)
    for policy, samples in itertools.product(POLICIES, SAMPLES):
        verdicts = judge_all(seeds, policy=policy, samples=samples)
        wrong += [
            f"seed {seed}, {policy}, {samples} samples: {verdict}"
            for seed, verdict in zip(seeds, verdicts, strict=True)
            if not right(verdict)
        ]
        rows.append(summary(verdicts, policy=policy, samples=samples))
        table.row(*(rows[-1][name] for name in COLUMNS))
    for line in wrong[:SHOWN]:
        print(line)
    figures.write(options, {"problems": options.problems, "seed": options.seed, "runs": rows})
    return 1 if wrong else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument("--problems", type=int, default=10_000, help="of each policy (default 10,000)")
    figures.add_option(parser, "--seed", help="of the first problem")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
