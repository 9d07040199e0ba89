"""Thresholds of the policy confidence: speed of the replay, and ours against an exhaustive search and others' rules.

    python scripts/bench_thresholds.py --profile P --outcomes O [--json FILE]

The speed of the replay is measured with 8 exits and 50,000 made-up samples. Then ours is compared on made-up choices
of 3 exits and, given documents, on random choices of 3 real exits and on the exits of the best choice for known
budgets, on the choice split. Against: every threshold that three exits can have
(`exhaustive_thresholds.py`), MSDNet's quota, greedy lowering, and the package earlyon where it is installed
(`earlyon_thresholds.py`). All in accuracy, positive where ours is ahead:

mean ahead     at equal mean latency, mean over their operating points; `worst` the point where ours is least ahead
value          expected value over budgets uniform from 10% to 100% of the backbone's latency, mean over the choices
least          the smallest of these over the choices
held out       their mean with every rule's thresholds applied to the report split
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NotRequired, TypedDict

import earlyon_thresholds
import figures
import numpy as np
from exhaustive_thresholds import exhaustive

from exitsearch.cli.console import progress
from exitsearch.errors import InputError
from exitsearch.search.build import build_problem
from exitsearch.search.problem import Candidate, Choice, Problem
from exitsearch.search.solver.exact import solve
from exitsearch.search.thresholds.optimise import optimise
from exitsearch.search.thresholds.replay import Replay, Staircase
from exitsearch.search.thresholds.rules import greedy_thresholds, quota
from exitsearch.search.thresholds.scores import Answers, build_answers
from exitsearch.specs.budget import parse_budget
from exitsearch.specs.outcomes import Outcomes, Samples
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.request import SearchRequest

EXITS, SAMPLES, CONFIGURATIONS = 8, 50_000, 2000
MADE_UP_SAMPLES = 400
COLUMNS = {"against": "<20", "mean ahead": "11.5f", "worst": "9.5f", "value": "9.5f", "least": "9.5f"}
COLUMNS |= {"held out": "9.5f"}


class Ahead(TypedDict):
    """How far ours is ahead of a rule on one choice, in accuracy; held out where there is a report split."""

    against: str
    mean_ahead: float
    worst: float
    value: float
    held_out: NotRequired[float]


def speed() -> float:
    """Configurations of thresholds replayed a second."""
    rng = np.random.default_rng(0)
    shape = (EXITS + 1, SAMPLES)
    scores = rng.random(shape, dtype=np.float32)
    answers = Answers("softmax", scores, rng.random(shape) < 0.7, np.zeros(shape, np.int32), np.ones(EXITS + 1))
    candidates = tuple(Candidate(k, "a", 5.0 * (k + 1), 1.0, 0.7) for k in range(EXITS))
    problem = Problem(candidates, 5.0 * (EXITS + 1), 0.7, 0.0, parse_budget("uniform:0,60"), policy="confidence")
    replay = Replay(problem, answers, tuple(range(EXITS)))
    configurations = rng.random((CONFIGURATIONS, EXITS))
    started = time.perf_counter()
    replay.staircase(configurations)
    return CONFIGURATIONS / (time.perf_counter() - started)


Rule = Callable[[Replay], Staircase]


# What needs no more than scores.
RULES: dict[str, Rule] = {"MSDNet's quota": quota, "greedy lowering": greedy_thresholds}


def earlyon_rule(answers: Answers, samples: Samples, problem: Problem, choice: Choice) -> dict[str, Rule]:
    """earlyon's rule, where it is installed."""
    if not earlyon_thresholds.installed():
        return {}
    keys = [(candidate.placement, candidate.head) for candidate in problem.chosen(choice)]
    return {"earlyon": lambda replay: earlyon_thresholds.earlyon_thresholds(replay, answers, samples, choice, keys)}


def held_out(problem: Problem, staircase: Staircase, report: Replay) -> float:
    """Expected value when every operating point is worth what it is on the report split."""
    chances, nothing = staircase.chances(problem)
    values = np.array([report.point(thresholds)[1] for thresholds in staircase.thresholds])
    return float(chances @ values + nothing * problem.fallback)


def compare(problem: Problem, replay: Replay, others: dict[str, Rule], report: Replay | None = None) -> list[Ahead]:
    """How far ours is ahead of every rule on one choice; of an exhaustive search too, where it has three exits."""
    ours = optimise(replay)
    rows: list[Ahead] = []
    theirs = {name: rule(replay) for name, rule in others.items()}
    if replay.exits == 3:
        costs, values = exhaustive(replay)
        theirs = {"exhaustive": Staircase(costs, values, np.full((len(costs), 3), np.nan)), **theirs}
    for name, staircase in theirs.items():
        # Sums in another order differ by rounding; no two costs are so near each other.
        ahead = ours.values[[ours.at(cost + 1e-9) or 0 for cost in staircase.costs_ms]] - staircase.values
        row: Ahead = {
            "against": name,
            "mean_ahead": float(ahead.mean()),
            "worst": float(ahead.min()),
            "value": ours.value(problem) - staircase.value(problem),
        }
        if report is not None and not np.isnan(staircase.thresholds).any():
            row["held_out"] = held_out(problem, ours, report) - held_out(problem, staircase, report)
        rows.append(row)
    return rows


def compare_real(problem: Problem, outcomes: Outcomes, answers: Answers, choice: Choice) -> list[Ahead]:
    """On real outcomes, with every rule and the report split."""
    samples = outcomes.samples(outcomes.choice_split)
    assert samples is not None
    others = {**RULES, **earlyon_rule(answers, samples, problem, choice)}
    report = None
    if outcomes.report_split:
        there = build_answers(problem, outcomes, outcomes.report_split, like=answers, only=choice)
        report = Replay(problem, there, choice)
    return compare(problem, Replay(problem, answers, choice), others, report)


def made_up(seed: int) -> tuple[Problem, Replay]:
    """Three exits of rising skill on samples of normal difficulty; an exit roughly knows how sure it may be."""
    rng = np.random.default_rng(seed)
    margin = np.linspace(-0.3, 1.2, 4)[:, None] - rng.normal(size=MADE_UP_SAMPLES)
    margin += 0.5 * rng.normal(size=margin.shape)
    right = margin > 0
    sure = 1 / (1 + np.exp(-np.abs(margin) - 0.3 * rng.normal(size=margin.shape)))
    scores = np.where(right, sure, 1 - sure / 2).astype(np.float32)
    candidates = tuple(Candidate(k, "a", 5.0 * (k + 1), 1.0, float(right[k].mean())) for k in range(3))
    budget = parse_budget("uniform:2,20")
    problem = Problem(candidates, 20.0, float(right[-1].mean()), 0.0, budget, policy="confidence")
    answers = Answers("softmax", scores, right, np.zeros(right.shape, np.int32), np.ones(4))
    return problem, Replay(problem, answers, (0, 1, 2))


def summary(title: str, members: Sequence[Ahead]) -> dict[str, Any]:
    """Means over the choices, of one rule; `worst` is the worst of all."""
    held = [row["held_out"] for row in members if "held_out" in row]
    return {
        "choices": title,
        "against": members[0]["against"],
        "mean_ahead": float(np.mean([row["mean_ahead"] for row in members])),
        "worst": min(row["worst"] for row in members),
        "value": float(np.mean([row["value"] for row in members])),
        "least_value": min(row["value"] for row in members),
        "held_out": float(np.mean(held)) if held else None,
    }


def show(title: str, found: list[list[Ahead]]) -> list[dict[str, Any]]:
    """Print means over the choices."""
    rows = [summary(title, members) for members in zip(*found, strict=True)]
    print(title)
    table = figures.Table(COLUMNS, indent=2)
    for row in rows:
        table.row(*(row[name] for name in ("against", "mean_ahead", "worst", "value", "least_value", "held_out")))
    return rows


def on_made_up(choices: int) -> list[dict[str, Any]]:
    """Rows of made-up choices."""
    found = []
    with progress("made-up choices") as report:
        for seed in range(choices):
            found.append(compare(*made_up(seed), RULES))
            report((seed + 1) / choices, f"{seed + 1} of {choices}")
    return show(f"{choices} made-up choices of 3 exits, {MADE_UP_SAMPLES} samples", found)


def on_real(profile: Profile, outcomes: Outcomes, *, choices: int) -> list[dict[str, Any]]:
    """Rows of random choices of 3 real exits, and of the best choice for known budgets.

    Raises:
        InputError: the documents have fewer than 3 placements, or no samples.
    """
    request = SearchRequest.asked(budget="uniform:10%,100%", policy="confidence")
    problem, _ = build_problem(profile, outcomes, request)
    answers = build_answers(problem, outcomes, outcomes.choice_split)
    places = list(problem.by_placement)
    if len(places) < 3:
        raise InputError(f"choices of 3 exits need 3 placements or more; {outcomes.source} has {len(places)}")
    rng = np.random.default_rng(0)
    found = []
    with progress("random choices") as report:
        for number in range(choices):
            chosen = sorted(rng.choice(places, 3, replace=False).tolist())
            choice = tuple(int(rng.choice(problem.by_placement[place])) for place in chosen)
            found.append(compare_real(problem, outcomes, answers, choice))
            report((number + 1) / choices, f"{number + 1} of {choices}")
    if not earlyon_thresholds.installed():
        print("earlyon is not installed and left out: pip install earlyon")
    rows = show(f"{choices} random choices of 3 exits", found)
    best = solve(replace(problem, policy="contract"), by_count=False).choice
    return rows + show(
        f"the best {len(best)} exits for known budgets", [compare_real(problem, outcomes, answers, best)]
    )


def work(options: argparse.Namespace) -> int:
    if options.choices < 1:
        raise InputError(f"--choices must be 1 or more; found {options.choices}")
    documents = figures.documents(options)
    rate = speed()
    print(f"{rate:.0f} configurations a second ({EXITS} exits, {SAMPLES} samples, {CONFIGURATIONS} configurations)")
    rows = on_made_up(options.choices)
    if documents is not None:
        rows += on_real(*documents, choices=options.choices)
    figures.write(options, {"configurations_per_second": rate, "rules": rows}, schema_version=2)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    figures.add_options(parser, "--profile")
    figures.add_option(parser, "--outcomes", help="outcomes with samples, of the same backbone")
    parser.add_argument("--choices", type=int, default=10, help="random choices of 3 exits (default 10)")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
