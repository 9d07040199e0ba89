"""Regret and time of ways to choose exits, against the proved optimum.

    python scripts/bench_search.py --json FILE                         # everything: takes many hours
    python scripts/bench_search.py --sizes 12x3 --seeds 2 --trials 50,100 --methods random,tpe,greedy,ours
    python scripts/bench_search.py --sizes "" --profile P --outcomes O --json FILE      # real outcomes

Problems: the published tables with operation counts as times, made-up backbones of 12, 24 and 48 placements with 3, 8
and 12 head types (`bench_solver.py`), and real outcomes on their profile, all under both policies. Methods: Optuna's
random, TPE, NSGA-II and GP samplers without our help (no first trial, one categorical parameter a placement, TPE as by
default), greedy adding, each head equally spaced, and ours (the exact solver; then nothing is left for trials). Regret
is the exact optimum minus the best value after so many trials; GP is left out beyond 300 trials, where one takes
minutes.

Every row is written to FILE as soon as it is known, and rows that FILE holds already are not run again: a run that was
cut short goes on, and several runs with other methods or sizes fill one file. `--markdown OUT` writes its table. Exit
status 1 when a method beats what the solver calls the optimum, or ours has a regret: both would be bugs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypedDict

import figures
import numpy as np
import optuna
from bench_solver import make_problem
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from exitsearch.errors import InputError
from exitsearch.search.baselines import baselines, greedy
from exitsearch.search.build import build_problem
from exitsearch.search.problem import Problem
from exitsearch.search.solver.exact import Solution, solve
from exitsearch.search.value import expected_value
from exitsearch.specs.document import read_data, write_json, write_text
from exitsearch.specs.published import PUBLISHED_OUTCOMES, published_costs, published_outcomes
from exitsearch.specs.question.request import Policy, SearchRequest

SIZES = "12x3,12x8,12x12,24x3,24x8,24x12,48x3,48x8,48x12"
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "random": lambda seed: RandomSampler(seed=seed),
    "tpe": lambda seed: TPESampler(seed=seed),
    "nsga2": lambda seed: NSGAIISampler(seed=seed),
    "gp": lambda seed: GPSampler(seed=seed),
}
METHODS = (*SAMPLERS, "greedy", "spaced", "ours")
MOST_GP_TRIALS = 300


class Run(TypedDict):
    """Regret after each number of trials, and seconds."""

    regrets: dict[int, float]
    seconds: float


def sampled(problem: Problem, sampler: BaseSampler, trials: int) -> list[float]:
    """Values of an ordinary Optuna study, as a user would write it; a trial with too many exits counts as the worst."""
    values = []

    def objective(trial: optuna.Trial) -> float:
        choice = []
        for place, positions in problem.by_placement.items():
            head = trial.suggest_categorical(str(place), ["-", *(problem.candidates[p].head for p in positions)])
            if head != "-":
                choice.append(problem.positions[place, head])
        allowed = problem.allows(tuple(choice))
        values.append(expected_value(problem, tuple(choice)) if allowed else problem.fallback)
        return values[-1]

    optuna.create_study(direction="maximize", sampler=sampler).optimize(objective, n_trials=trials)
    return values


def spaced(problem: Problem) -> float:
    """The best of every head equally spaced or at every placement."""
    found = [b.value for b in baselines(problem) if b.name.endswith(("spaced", "every placement"))]
    return max(found, default=expected_value(problem, ()))


def problems(options: argparse.Namespace) -> dict[str, list[tuple[int, Problem]]]:
    """Seeds and problems of everything that is asked for, by name."""
    found: dict[str, list[tuple[int, Problem]]] = {}
    seeds = range(options.seeds)
    if (documents := figures.documents(options)) is not None:
        problem, _ = build_problem(*documents, SearchRequest.asked(budget="uniform:10%,100%"))
        found["real outcomes"] = [(seed, problem) for seed in seeds]
    if not options.no_tables:
        for name in PUBLISHED_OUTCOMES:
            problem, _ = build_problem(
                published_costs("mevit-gmacs"), published_outcomes(name), SearchRequest.asked(budget="uniform:10%,100%")
            )
            found[name] = [(seed, problem) for seed in seeds]
    for size in options.sizes:
        placements, heads = (int(part) for part in size.split("x"))
        found[size] = [(seed, make_problem(placements, heads, realistic=True, noise=True, seed=seed)) for seed in seeds]
    return found


def run(method: str, problem: Problem, best: float, seed: int, marks: Sequence[int]) -> Run:
    """One method on one problem."""
    started = time.perf_counter()
    if method in SAMPLERS:
        trials = min(max(marks), MOST_GP_TRIALS) if method == "gp" else max(marks)
        reached = np.maximum.accumulate(sampled(problem, SAMPLERS[method](seed), trials))
        regrets = {mark: best - float(reached[mark - 1]) for mark in marks if mark <= trials}
    else:
        if method == "ours":
            value = solve(problem, by_count=False).value
        else:
            value = expected_value(problem, greedy(problem)) if method == "greedy" else spaced(problem)
        regrets = dict.fromkeys(marks, best - value)
    return {"regrets": regrets, "seconds": time.perf_counter() - started}


class Rows:
    """The rows so far, in the file of `--json` too; what else it says is of the run that added the last one."""

    KEY = ("problem", "policy", "max_exits", "method")

    def __init__(self, options: argparse.Namespace) -> None:
        self._path = options.json
        self._marks = [str(mark) for mark in options.trials]
        self._head = {"schema_version": 2, "seeds": options.seeds, "trials": list(options.trials)}
        self.rows: list[dict[str, Any]] = []
        if self._path is None:
            return
        self._facts = figures.facts(options)
        if self._path.exists():
            found = read_data(self._path)
            if not isinstance(found, dict) or {key: found.get(key) for key in self._head} != self._head:
                raise InputError(f"{self._path} holds rows of other seeds or numbers of trials; name another file")
            self.rows = found["runs"]

    def holds(self, *key: object) -> bool:
        return any(tuple(row[name] for name in self.KEY) == key for row in self.rows)

    def add(self, row: dict[str, Any]) -> None:
        # JSON's keys are text; the same before and after reading.
        self.rows.append(json.loads(json.dumps(row)))
        if self._path is not None:
            write_json(self._path, {**self._head, "runs": self.rows, **self._facts})

    def faults(self) -> list[str]:
        """Rows that no right solver would give."""
        found = []
        for row in self.rows:
            regrets = [regret for one in row["runs"] for regret in one["regrets"].values()]
            name = " ".join(str(row[key]) for key in self.KEY)
            if min(regrets) < -1e-9:
                found.append(f"{name}: better than the optimum by {-min(regrets):g}")
            if row["method"] == "ours" and max(regrets) > 1e-9:
                found.append(f"{name}: regret {max(regrets):g}")
        return found

    def markdown(self) -> str:
        """Mean regret after each number of trials, one row a method and problem."""
        marks = self._marks
        lines = [
            f"| problem | policy | most exits | method |{''.join(f' after {mark} |' for mark in marks)} seconds |",
            f"|---|---|---|---|{'---|' * (len(marks) + 1)}",
        ]
        for row in self.rows:
            cells = [f"{row['mean_regret'][mark]:.5f}" if mark in row["mean_regret"] else "" for mark in marks]
            names = [row["problem"], row["policy"], row["max_exits"] or "any", row["method"]]
            lines.append(f"| {' | '.join(map(str, [*names, *cells, format(row['seconds'], '.2f')]))} |")
        return "\n".join(lines) + "\n"


def posed(
    members: list[tuple[int, Problem]], policy: Policy, most: int | None
) -> tuple[list[tuple[int, Problem]], list[Solution]]:
    """The problems under a policy and a limit, and their optima."""
    under = [(seed, replace(problem, policy=policy, max_exits=most)) for seed, problem in members]
    return under, [solve(problem, by_count=False) for _, problem in under]


def new_rows(rows: Rows, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What is asked for and not there yet."""
    for name, members in problems(options).items():
        for policy, most in itertools.product(options.policies, options.max_exits):
            missing = [method for method in options.methods if not rows.holds(name, policy, most, method)]
            if not missing:
                continue
            under, solutions = posed(members, policy, most)
            for method in missing:
                found = [
                    run(method, problem, solution.bound, seed, options.trials)
                    for (seed, problem), solution in zip(under, solutions, strict=True)
                ]
                yield {
                    "problem": name,
                    "policy": policy,
                    "max_exits": most,
                    "method": method,
                    "mean_regret": {
                        mark: statistics.mean(one["regrets"][mark] for one in found) for mark in found[0]["regrets"]
                    },
                    "runs": found,
                    "seconds": statistics.mean(one["seconds"] for one in found),
                    "exact": all(solution.exact for solution in solutions),
                }


def work(options: argparse.Namespace) -> int:
    if unknown := set(options.methods) - set(METHODS):
        raise InputError(f"unknown methods: {', '.join(sorted(unknown))}; known: {', '.join(METHODS)}")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = Rows(options)
    columns = {"problem": "<15", "policy": "<14", "exits": "6", "method": "<8"}
    columns |= {f"after {mark}": "11.5f" for mark in options.trials}
    table = figures.Table({**columns, "seconds": "9.3f", "exact": "5"})
    for row in new_rows(rows, options):
        rows.add(row)
        regrets = [row["mean_regret"].get(mark) for mark in options.trials]
        most = "none" if row["max_exits"] is None else row["max_exits"]
        table.row(row["problem"], row["policy"], most, row["method"], *regrets, row["seconds"], row["exact"])
    if options.markdown:
        write_text(options.markdown, rows.markdown())
    faults = rows.faults()
    for fault in faults:
        print(f"FAULT: {fault}")
    return 1 if faults else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(
        __doc__, file=__file__, json_help="write the figures here too; go on with what it holds"
    )
    parser.add_argument("--markdown", metavar="OUT", help="write a table of all rows here too")
    parser.add_argument(
        "--sizes", type=figures.names, default=SIZES, help=f"placements x head types, '' for none (default {SIZES})"
    )
    parser.add_argument("--seeds", type=int, default=10, help="seeds of samplers and of made-up problems (default 10)")
    parser.add_argument(
        "--trials",
        type=lambda text: tuple(sorted(figures.numbers(text))),
        default="50,100,300,1000",
        help="after how many trials (default 50,100,300,1000)",
    )
    parser.add_argument(
        "--methods", type=figures.names, default=",".join(METHODS), help=f"of {', '.join(METHODS)} (default: all)"
    )
    parser.add_argument("--policies", type=figures.names, default="interruptible,contract")
    parser.add_argument(
        "--max-exits", type=limits, default="none,4", help="limits on the number of exits (default none,4)"
    )
    parser.add_argument("--no-tables", action="store_true", help="leave the published tables out")
    figures.add_options(parser, "--profile")
    figures.add_option(parser, "--outcomes", help="outcomes of the same backbone: one more problem")
    return figures.run(work, parser=parser, argv=argv)


def limits(text: str) -> tuple[int | None, ...]:
    """Numbers with commas between, `none` among them, for argparse."""
    return tuple(None if word == "none" else figures.numbers(word)[0] for word in figures.names(text))


if __name__ == "__main__":
    sys.exit(main())
