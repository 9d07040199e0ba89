"""The policy confidence against trying everything: does the search miss a choice, does the bound hold, how near is it?

    python scripts/check_confidence_bound.py [--problems 200] [--profile P --outcomes O] [--large] [--json FILE]

Made-up problems have 2 or 3 placements with up to 2 heads and 6 to 9 samples, so that every threshold of every choice
can be replayed: `missed` is by how much the best of them is above what the search chose, `broken` by how much it is
above the bound (both 0 if all is well), and the gaps are those of the bounds above it, the oracle's first. With a
profile and outcomes, all choices of exits are judged in full instead, with the thresholds that the search would find.
`--large` times the search on 12 placements with 14 heads and 2,000 samples, with and without a quantile.

Exit status 1 when a bound is broken; a search that misses is counted, and no fault: it is not exact.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import figures
import numpy as np

from exitsearch.cli.console import progress
from exitsearch.search.build import build_problem
from exitsearch.search.problem import Candidate, Choice, Problem
from exitsearch.search.thresholds.choose import choose_from, judged
from exitsearch.search.thresholds.oracle import oracle_bound
from exitsearch.search.thresholds.replay import Replay
from exitsearch.search.thresholds.scores import Answers, build_answers
from exitsearch.specs.budget import parse_budget
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.request import Score, SearchRequest

QUANTILES = (None, 0.5, 0.8)
SCORES: tuple[Score, ...] = ("softmax", "patience")
# The sizes of `--large`.
PLACEMENTS, HEADS, SAMPLES, TRIALS = 12, 14, 2000, 100
# Title of a column, its format, and what it shows of a summary.
COLUMNS = (
    ("problems", "<34", "problems"),
    ("count", "5", "count"),
    ("missed", "6", "missed"),
    ("worst", "7.5f", "worst_missed"),
    ("broken", "6", "broken"),
    ("exact", "5", "exact"),
    ("oracle's gap", "12.4f", "mean_oracle_gap"),
    ("gap", "6.4f", "mean_gap"),
    ("worst oracle's", "14.4f", "worst_oracle_gap"),
    ("worst gap", "9.4f", "worst_gap"),
    ("seconds", "7.2f", "mean_seconds"),
)
Row = dict[str, Any]


def made_up(
    seed: int, *, placements: int, heads: int, samples: int, score: Score = "softmax"
) -> tuple[Problem, Answers]:
    """Exits of random skill, cost and sureness; every placement has at least one head."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.uniform(1, 6, placements + 1))
    places = [(place, head) for place in range(placements) for head in range(heads)]
    skill = np.array([(place + 1) / (placements + 1) + 0.15 * head for place, head in places] + [1.1])
    margin = skill[:, None] - 0.8 * rng.normal(size=samples) - 0.5 * rng.normal(size=(len(skill), samples))
    right = margin > 0
    felt = 1 / (1 + np.exp(-2 * np.abs(margin) - rng.normal(size=margin.shape)))
    scores = np.where(right, felt, 1 - felt / 2).astype(np.float32)
    if score == "patience":
        scores[:] = 0
    predicted = np.where(right, 0, 1 + rng.integers(3, size=right.shape)).astype(np.int32)
    candidates = tuple(
        Candidate(place, "abcdefghijklmn"[head], float(arrivals[place]), float(rng.uniform(0.1, 1.5)), 0.5)
        for place, head in places
    )
    final = float(arrivals[-1])
    budgets = (f"uniform:0,{1.3 * final}", f"point:{0.6 * final}", f"discrete:{0.4 * final}@0.5,{0.8 * final}@0.5")
    budget = parse_budget(budgets[seed % len(budgets)])
    problem = Problem(candidates, final, float(right[-1].mean()), 0.0, budget, policy="confidence")
    return problem, Answers(score, scores, right, predicted, np.ones(len(skill)))


def all_choices(problem: Problem) -> list[Choice]:
    """Every choice that keeps to the limits."""
    options = [(None, *rows) for rows in problem.by_placement.values()]
    choices = (tuple(row for row in picked if row is not None) for picked in itertools.product(*options))
    return [choice for choice in choices if problem.allows(choice)]


def every_threshold(problem: Problem, answers: Answers, choice: Choice) -> float:
    """The expected value of a choice when all thresholds that differ are replayed."""
    replay = Replay(problem, answers, choice)
    axes = [[*np.unique(scores), np.inf] for scores in replay.scores]
    rows = np.array(list(itertools.product(*axes)), dtype=np.float64)
    return replay.staircase(rows).value(problem)


def compare(problem: Problem, answers: Answers, *, trials: int, whole: bool) -> Row:
    """One search beside the best of all choices."""
    started = time.perf_counter()
    found = choose_from(problem, answers, trials=trials)
    seconds = time.perf_counter() - started
    value = found.staircase.value(problem)
    if whole:
        best = max(every_threshold(problem, answers, choice) for choice in all_choices(problem))
    else:
        best = max(judged(problem, answers, choice).most for choice in all_choices(problem))
    return {
        "value": value,
        "missed": max(0.0, best - value),
        "broken": max(0.0, best - found.bound - 1e-9),
        "oracle_gap": oracle_bound(problem, answers) - best,
        "gap": found.bound - best,
        "exact": found.exact,
        "seconds": seconds,
    }


def summary(title: str, rows: Sequence[Row]) -> Row:
    """The worst and the mean of some comparisons; `missed` counts those missed by more than 1e-4."""
    columns = {key: np.array([row[key] for row in rows], dtype=np.float64) for key in rows[0]}
    return {
        "problems": title,
        "count": len(rows),
        "missed": int((columns["missed"] > 1e-4).sum()),
        "worst_missed": float(columns["missed"].max()),
        "broken": int((columns["broken"] > 0).sum()),
        "exact": int(columns["exact"].sum()),
        **{f"mean_{key}": float(columns[key].mean()) for key in ("oracle_gap", "gap", "seconds")},
        **{f"worst_{key}": float(columns[key].max()) for key in ("oracle_gap", "gap")},
    }


def on_made_up(problems: int, *, trials: int) -> Iterator[Row]:
    """A summary for each score and quantile, of made-up problems."""
    for score, quantile in itertools.product(SCORES, QUANTILES) if problems else ():
        found = []
        title = f"made-up, {score}, quantile {quantile}"
        with progress(title) as report:
            for seed in range(problems):
                problem, answers = made_up(
                    seed, placements=2 + seed % 2, heads=1 + seed // 2 % 2, samples=6 + seed % 4, score=score
                )
                found.append(compare(replace(problem, quantile=quantile), answers, trials=trials, whole=True))
                report((seed + 1) / problems, f"{seed + 1} of {problems}")
        yield summary(title, found)


def on_outcomes(profile: Profile, outcomes: Outcomes, options: argparse.Namespace) -> Iterator[Row]:
    """A summary for each score and quantile, of real outcomes."""
    request = SearchRequest.asked(
        budget="uniform:10%,100%", policy="confidence", placements=options.placements, heads=options.heads
    )
    problem, _ = build_problem(profile, outcomes, request)
    for score, quantile in itertools.product(SCORES, QUANTILES):
        answers = build_answers(problem, outcomes, outcomes.choice_split, score=score)
        row = compare(replace(problem, quantile=quantile), answers, trials=options.trials, whole=False)
        yield summary(f"outcomes, {score}, quantile {quantile}", [row])


def large() -> Row:
    """Seconds of a search over many heads and samples, without and with a quantile."""
    problem, answers = made_up(0, placements=PLACEMENTS, heads=HEADS, samples=SAMPLES)
    found: Row = {}
    for name, quantile in (("mean", None), ("quantile", 0.95)):
        started = time.perf_counter()
        choose_from(replace(problem, quantile=quantile), answers, trials=TRIALS)
        found[f"{name}_seconds"] = time.perf_counter() - started
    print(
        f"{PLACEMENTS} x {HEADS}, {TRIALS} trials: {found['mean_seconds']:.1f} s, with a quantile "
        f"{found['quantile_seconds']:.1f} s"
    )
    return found


def work(options: argparse.Namespace) -> int:
    documents = figures.documents(options)
    rows = []
    table = figures.Table({title: form for title, form, _ in COLUMNS})
    for row in itertools.chain(
        on_made_up(options.problems, trials=options.trials), on_outcomes(*documents, options) if documents else ()
    ):
        rows.append(row)
        table.row(*(row[key] for _, _, key in COLUMNS))
    found = {"large": large()} if options.large else {}
    figures.write(options, {**found, "comparisons": rows})
    return 1 if any(row["broken"] for row in rows) else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument("--problems", type=int, default=200, help="made-up ones of each kind (default 200)")
    parser.add_argument("--trials", type=int, default=20, help="Optuna trials of a search (default 20)")
    figures.add_options(parser, "--profile")
    figures.add_option(parser, "--outcomes", help="outcomes with samples, of the same backbone")
    parser.add_argument("--placements", help="placements of these to choose from, as 0,2,4 (default all)")
    figures.add_option(
        parser, "--heads", nargs="+", metavar="HEADS", help="heads of these to choose from (default: all)"
    )
    parser.add_argument("--large", action="store_true", help="time large searches")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
