"""Thresholds of the policy confidence: speed of the replay, and ours against a whole grid and others' rules.

    python scripts/bench_thresholds.py --profile P --outcomes O [--json FILE]

Without documents only the speed is measured: 8 exits, 50,000 made-up samples. With them, random choices of 3 exits on
the choice split: how far ours is above (or below) every configuration of a grid, MSDNet's quota and greedy thresholds,
at equal mean latency; mean over their operating points, in accuracy. `worst` is the point where ours is least ahead.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable

import numpy as np

from exitsearch.search.answers import Answers, build_answers
from exitsearch.search.confidence import Replay, Staircase, optimise
from exitsearch.search.problem import Candidate, Problem, build_problem
from exitsearch.search.rules import greedy_thresholds, quota
from exitsearch.specs.budget import parse_budget
from exitsearch.specs.document import write_json
from exitsearch.specs.load import load_outcomes, load_profile

EXITS, SAMPLES, CONFIGURATIONS = 8, 50_000, 2000
GRID_LEVELS = 24


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


def whole_grid(replay: Replay) -> Staircase:
    """Every combination of 24 levels and off at each exit."""
    axes = [[*np.quantile(scores, np.linspace(0, 1, GRID_LEVELS)), np.inf] for scores in replay.scores]
    return replay.staircase(np.array(list(itertools.product(*axes))))


RULES: dict[str, Callable[[Replay], Staircase]] = {
    "grid": whole_grid,
    "MSDNet's quota": quota,
    "greedy thresholds": greedy_thresholds,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", help="a timed profile")
    parser.add_argument("--outcomes", help="outcomes with samples, of the same backbone")
    parser.add_argument("--choices", type=int, default=10, help="random choices of 3 exits (default 10)")
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    rate = speed()
    print(f"{rate:.0f} configurations a second ({EXITS} exits, {SAMPLES} samples, {CONFIGURATIONS} configurations)")
    rows = []
    if options.profile and options.outcomes:
        profile, outcomes = load_profile(options.profile), load_outcomes(options.outcomes)
        problem, _ = build_problem(profile, outcomes, budget="uniform:10%,100%", policy="confidence")
        answers = build_answers(problem, outcomes, outcomes.choice_split)
        rng = np.random.default_rng(0)
        places = list(problem.by_placement)
        print(f"{'against':20}{'mean ahead':>12}{'worst':>10}{'value ahead':>13}")
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in RULES}
        for _ in range(options.choices):
            chosen = sorted(rng.choice(places, 3, replace=False).tolist())
            choice = tuple(int(rng.choice(problem.by_placement[place])) for place in chosen)
            replay = Replay(problem, answers, choice)
            ours = optimise(replay)
            for name, rule in RULES.items():
                theirs = rule(replay)
                ahead = ours.values[[ours.at(cost + 1e-9) for cost in theirs.costs_ms]] - theirs.values
                value = ours.value(problem) - theirs.value(problem)
                found[name].append((float(ahead.mean()), float(ahead.min()), value))
        for name, numbers in found.items():
            mean, worst, value = np.array(numbers).T
            rows.append({"against": name, "mean": mean.mean(), "worst": worst.min(), "value": value.mean()})
            print(f"{name:20}{mean.mean():12.5f}{worst.min():10.5f}{value.mean():13.5f}")
    if options.json:
        write_json(options.json, {"schema_version": 1, "configurations_per_second": rate, "rules": rows})


if __name__ == "__main__":
    main()
