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
import time
from collections.abc import Callable
from dataclasses import replace

import earlyon_thresholds
import numpy as np
from exhaustive_thresholds import exhaustive

from exitsearch.search.build import build_problem
from exitsearch.search.problem import Candidate, Choice, Problem
from exitsearch.search.solver.exact import solve
from exitsearch.search.thresholds.optimise import optimise
from exitsearch.search.thresholds.replay import Replay, Staircase
from exitsearch.search.thresholds.rules import greedy_thresholds, quota
from exitsearch.search.thresholds.scores import Answers, build_answers
from exitsearch.specs.budget import parse_budget
from exitsearch.specs.document import write_json
from exitsearch.specs.load import load_outcomes, load_profile
from exitsearch.specs.outcomes import Outcomes, Samples
from exitsearch.specs.request import SearchRequest

EXITS, SAMPLES, CONFIGURATIONS = 8, 50_000, 2000
MADE_UP_SAMPLES = 400


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


def compare(
    problem: Problem, replay: Replay, others: dict[str, Rule], report: Replay | None = None
) -> list[dict[str, object]]:
    """How far ours is ahead of every rule on one choice; of an exhaustive search too, where it has three exits."""
    ours = optimise(replay)
    rows: list[dict[str, object]] = []
    theirs = {name: rule(replay) for name, rule in others.items()}
    if replay.exits == 3:
        costs, values = exhaustive(replay)
        theirs = {"exhaustive": Staircase(costs, values, np.full((len(costs), 3), np.nan)), **theirs}
    for name, staircase in theirs.items():
        # Sums in another order differ by rounding; no two costs are so near each other.
        ahead = ours.values[[ours.at(cost + 1e-9) or 0 for cost in staircase.costs_ms]] - staircase.values
        row = {
            "against": name,
            "mean_ahead": float(ahead.mean()),
            "worst": float(ahead.min()),
            "value": ours.value(problem) - staircase.value(problem),
        }
        if report is not None and not np.isnan(staircase.thresholds).any():
            row["held_out"] = held_out(problem, ours, report) - held_out(problem, staircase, report)
        rows.append(row)
    return rows


def compare_real(problem: Problem, outcomes: Outcomes, answers: Answers, choice: Choice) -> list[dict[str, object]]:
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


def show(title: str, found: list[list[dict[str, object]]]) -> list[dict[str, object]]:
    """Print means over the choices; `worst` is the worst of all."""
    print(f"{title}\n  {'against':20}{'mean ahead':>12}{'worst':>10}{'value':>10}{'least':>10}{'held out':>10}")
    rows: list[dict[str, object]] = []
    for members in zip(*found, strict=True):
        columns = {key: np.array([row[key] for row in members]) for key in members[0] if key != "against"}
        row = {
            "choices": title,
            "against": members[0]["against"],
            "mean_ahead": float(columns["mean_ahead"].mean()),
            "worst": float(columns["worst"].min()),
            "value": float(columns["value"].mean()),
            "least_value": float(columns["value"].min()),
            "held_out": float(columns["held_out"].mean()) if "held_out" in columns else None,
        }
        rows.append(row)
        shown = f"{row['held_out']:10.5f}" if row["held_out"] is not None else ""
        print(
            f"  {row['against']:20}{row['mean_ahead']:12.5f}{row['worst']:10.5f}{row['value']:10.5f}"
            f"{row['least_value']:10.5f}{shown}",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", help="a timed profile")
    parser.add_argument("--outcomes", help="outcomes with samples, of the same backbone")
    parser.add_argument("--choices", type=int, default=10, help="random choices of 3 exits (default 10)")
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    rate = speed()
    print(f"{rate:.0f} configurations a second ({EXITS} exits, {SAMPLES} samples, {CONFIGURATIONS} configurations)")
    rows = show(
        f"{options.choices} made-up choices of 3 exits, {MADE_UP_SAMPLES} samples",
        [compare(*made_up(seed), RULES) for seed in range(options.choices)],
    )
    if options.profile and options.outcomes:
        profile, outcomes = load_profile(options.profile), load_outcomes(options.outcomes)
        problem, _ = build_problem(
            profile, outcomes, SearchRequest.asked(budget="uniform:10%,100%", policy="confidence")
        )
        answers = build_answers(problem, outcomes, outcomes.choice_split)
        rng = np.random.default_rng(0)
        places = list(problem.by_placement)
        found = []
        for _ in range(options.choices):
            chosen = sorted(rng.choice(places, 3, replace=False).tolist())
            choice = tuple(int(rng.choice(problem.by_placement[place])) for place in chosen)
            found.append(compare_real(problem, outcomes, answers, choice))
        if not earlyon_thresholds.installed():
            print("earlyon is not installed and left out: pip install earlyon")
        rows += show(f"{options.choices} random choices of 3 exits", found)
        best = solve(replace(problem, policy="contract"), by_count=False).choice
        rows += show(f"the best {len(best)} exits for known budgets", [compare_real(problem, outcomes, answers, best)])
    if options.json:
        write_json(options.json, {"schema_version": 2, "configurations_per_second": rate, "rules": rows})


if __name__ == "__main__":
    main()
