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
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from bench_solver import make_problem
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from exitsearch.search.baselines import baselines, greedy
from exitsearch.search.build import build_problem
from exitsearch.search.problem import Problem
from exitsearch.search.solver.exact import solve
from exitsearch.search.value import expected_value
from exitsearch.specs.document import write_json, write_text
from exitsearch.specs.load import load_outcomes, load_profile
from exitsearch.specs.published import PUBLISHED_OUTCOMES, published_costs, published_outcomes
from exitsearch.specs.request import SearchRequest

SIZES = "12x3,12x8,12x12,24x3,24x8,24x12,48x3,48x8,48x12"
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "random": lambda seed: RandomSampler(seed=seed),
    "tpe": lambda seed: TPESampler(seed=seed),
    "nsga2": lambda seed: NSGAIISampler(seed=seed),
    "gp": lambda seed: GPSampler(seed=seed),
}
METHODS = (*SAMPLERS, "greedy", "spaced", "ours")
MOST_GP_TRIALS = 300


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


def problems(
    sizes: str, seeds: int, tables: bool, real: tuple[str, str] | None = None
) -> list[tuple[str, int, Problem]]:
    """Name, seed and problem of everything that is asked for; `real` names a profile and outcomes."""
    found = []
    if real:
        problem, _ = build_problem(
            load_profile(real[0]), load_outcomes(real[1]), SearchRequest.asked(budget="uniform:10%,100%")
        )
        found += [("real outcomes", seed, problem) for seed in range(seeds)]
    if tables:
        for name in PUBLISHED_OUTCOMES:
            problem, _ = build_problem(
                published_costs("mevit-gmacs"), published_outcomes(name), SearchRequest.asked(budget="uniform:10%,100%")
            )
            found += [(name, seed, problem) for seed in range(seeds)]
    for size in filter(None, sizes.split(",")):
        placements, heads = (int(part) for part in size.split("x"))
        for seed in range(seeds):
            found.append((size, seed, make_problem(placements, heads, realistic=True, noise=True, seed=seed)))
    return found


def run(method: str, problem: Problem, best: float, seed: int, marks: list[int]) -> dict[str, object]:
    """Regret after each number of trials, and seconds."""
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


class Table:
    """The rows so far, in a file too."""

    KEY = ("problem", "policy", "max_exits", "method")

    def __init__(self, path: Path | None, seeds: int, marks: list[int]) -> None:
        self._path = path
        self._head = {"schema_version": 2, "seeds": seeds, "trials": marks}
        self.rows: list[dict[str, Any]] = []
        if path is not None and path.exists():
            found = json.loads(path.read_text())
            if {key: found.get(key) for key in self._head} != self._head:
                raise SystemExit(f"{path} holds rows of other seeds or numbers of trials; name another file")
            self.rows = found["runs"]

    def holds(self, *key: object) -> bool:
        return any(tuple(row[name] for name in self.KEY) == key for row in self.rows)

    def add(self, row: dict[str, Any]) -> None:
        # JSON's keys are text; the same before and after reading.
        self.rows.append(json.loads(json.dumps(row)))
        if self._path is not None:
            write_json(self._path, {**self._head, "runs": self.rows})

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
        marks = [str(mark) for mark in self._head["trials"]]  # type: ignore[attr-defined]
        lines = [
            f"| problem | policy | most exits | method |{''.join(f' after {mark} |' for mark in marks)} seconds |",
            f"|---|---|---|---|{'---|' * (len(marks) + 1)}",
        ]
        for row in self.rows:
            cells = [f"{row['mean_regret'][mark]:.5f}" if mark in row["mean_regret"] else "" for mark in marks]
            names = [row["problem"], row["policy"], row["max_exits"] or "any", row["method"]]
            lines.append(f"| {' | '.join(map(str, [*names, *cells, format(row['seconds'], '.2f')]))} |")
        return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="write the figures here too; go on with what it holds"
    )
    parser.add_argument("--markdown", metavar="OUT", help="write a table of all rows here too")
    parser.add_argument("--sizes", default=SIZES, help=f"placements x head types, '' for none (default {SIZES})")
    parser.add_argument("--seeds", type=int, default=10, help="seeds of samplers and of made-up problems (default 10)")
    parser.add_argument("--trials", default="50,100,300,1000", help="after how many trials (default 50,100,300,1000)")
    parser.add_argument("--methods", default=",".join(METHODS), help=f"of {', '.join(METHODS)}")
    parser.add_argument("--policies", default="interruptible,contract")
    parser.add_argument("--max-exits", default="none,4", help="limits on the number of exits (default none,4)")
    parser.add_argument("--no-tables", action="store_true", help="leave the published tables out")
    parser.add_argument("--profile", help="a timed profile, with --outcomes")
    parser.add_argument("--outcomes", help="outcomes of the same backbone: one more problem")
    options = parser.parse_args()
    if bool(options.profile) != bool(options.outcomes):
        parser.error("--profile and --outcomes belong together")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    marks = sorted(int(mark) for mark in options.trials.split(","))
    methods = options.methods.split(",")
    if unknown := set(methods) - set(METHODS):
        parser.error(f"unknown methods: {', '.join(sorted(unknown))}; known: {', '.join(METHODS)}")
    table = Table(options.json, options.seeds, marks)
    heading = "".join(f"{f'after {mark}':>12}" for mark in marks)
    print(f"{'problem':16}{'policy':15}{'exits':>6} {'method':9}{heading}{'seconds':>10}  exact")
    real = (options.profile, options.outcomes) if options.profile else None
    cases: dict[str, list[tuple[int, Problem]]] = {}
    for name, seed, problem in problems(options.sizes, options.seeds, not options.no_tables, real):
        cases.setdefault(name, []).append((seed, problem))
    for name, members in cases.items():
        for policy in options.policies.split(","):
            for limit in options.max_exits.split(","):
                most = None if limit == "none" else int(limit)
                missing = [method for method in methods if not table.holds(name, policy, most, method)]
                if not missing:
                    continue
                posed = [(seed, replace(problem, policy=policy, max_exits=most)) for seed, problem in members]
                solutions = [solve(problem, by_count=False) for _, problem in posed]
                for method in missing:
                    found = [
                        run(method, problem, solution.bound, seed, marks)
                        for (seed, problem), solution in zip(posed, solutions, strict=True)
                    ]
                    row = {
                        "problem": name,
                        "policy": policy,
                        "max_exits": most,
                        "method": method,
                        "mean_regret": {
                            mark: statistics.mean(one["regrets"][mark] for one in found)  # type: ignore[index]
                            for mark in marks
                            if mark in found[0]["regrets"]  # type: ignore[operator]
                        },
                        "runs": found,
                        "seconds": statistics.mean(one["seconds"] for one in found),  # type: ignore[misc]
                        "exact": all(solution.exact for solution in solutions),
                    }
                    table.add(row)
                    means: dict[int, float] = row["mean_regret"]  # type: ignore[assignment]
                    cells = "".join(f"{means[mark]:12.5f}" if mark in means else f"{'':12}" for mark in marks)
                    print(
                        f"{name:16}{policy:15}{limit:>6} {method:9}{cells}{row['seconds']:10.3f}  {row['exact']}",
                        flush=True,
                    )
    if options.markdown:
        write_text(options.markdown, table.markdown())
    faults = table.faults()
    for fault in faults:
        print(f"FAULT: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
