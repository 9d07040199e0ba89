"""What a trial of our search costs over a trial of Optuna alone: the ratio that must stay under a half.

    python scripts/bench_overhead.py [--profile P --outcomes O] [--json FILE]

Ours is `run_study`, everything in it: the expected value with its slow-down samples, the constraint of `--max-exits`,
the sampler whose numbers depend on the trial's, the places of a shared study, the lock on the journal, the report after
each trial. Optuna alone is `study.optimize` with the same parameters, the same kind of sampler and storage, and an
objective that gives back a number looked up: nothing less can be called a trial. Both run in turns, one trial of each,
so that both meet the same machine. `of medians` compares the median trials, which a busy machine moves less than the
sums; exit status 1 when ours takes half of Optuna's time on top by it, or more.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from exitsearch.search.build import build_problem
from exitsearch.search.problem import Choice, Problem
from exitsearch.search.solver.exact import solve
from exitsearch.search.study import run_study
from exitsearch.search.value import expected_value
from exitsearch.specs.document import write_json
from exitsearch.specs.load import load_outcomes, load_profile
from exitsearch.specs.request import SearchRequest

MOST_EXITS = 4
MUST_STAY_UNDER = 0.5


class Turns:
    """Two threads that work one after the other, a step each, and the time of every step."""

    def __init__(self) -> None:
        self._go = [threading.Event(), threading.Event()]
        self.seconds: list[list[float]] = [[], []]
        self._started = [0.0, 0.0]
        self._alone = False

    def begin(self, who: int) -> None:
        self._wait(who)

    def step(self, who: int) -> None:
        """A step is done: let the other one do one."""
        self.seconds[who].append(time.perf_counter() - self._started[who])
        self._go[1 - who].set()
        if not self._alone:
            self._wait(who)

    def end(self, who: int) -> None:
        """No more steps of this one: the other need not wait any more."""
        self._alone = True
        self._go[1 - who].set()

    def start(self) -> None:
        self._go[0].set()

    def _wait(self, who: int) -> None:
        self._go[who].wait()
        self._go[who].clear()
        self._started[who] = time.perf_counter()


def ours(problem: Problem, storage: str | None, trials: int, on_trial: Callable[[int, float], None]) -> None:
    run_study(problem, trials=trials, storage=storage, first=solve(problem).choice, on_trial=on_trial)


def alone(
    problem: Problem, storage: str | None, trials: int, values: list[float], on_trial: Callable[[], None]
) -> None:
    """An ordinary study over the same parameters."""
    options = {
        f"placement {place}": ["-", *(problem.candidates[position].head for position in positions)]
        for place, positions in problem.by_placement.items()
    }

    def objective(trial: optuna.Trial) -> float:
        for name, heads in options.items():
            trial.suggest_categorical(name, heads)
        return values[trial.number]

    backend = storage
    if storage and "://" not in storage:
        backend = JournalStorage(JournalFileBackend(storage))  # type: ignore[assignment]
    study = optuna.create_study(
        storage=backend, direction="maximize", sampler=optuna.samplers.TPESampler(multivariate=True, seed=0)
    )
    study.optimize(objective, n_trials=trials, callbacks=[lambda *_: on_trial()])


def compare(problem: Problem, kind: str, trials: int) -> dict[str, float]:
    """Milliseconds of a trial, ours and Optuna's, and the ratio of all of ours to all of Optuna's."""
    # The values of our own first run, so that Optuna alone tells good trials from bad ones as ours does.
    values: list[float] = []

    def value(choice: Choice) -> float:
        values.append(expected_value(problem, choice))
        return values[-1]

    run_study(problem, trials=trials, value=value)
    turns = Turns()
    with tempfile.TemporaryDirectory() as folder:
        form = {"memory": "", "journal": f"{folder}/NAME.journal", "sqlite": f"sqlite:///{folder}/NAME.db"}[kind]
        mine, theirs = (form.replace("NAME", name) or None for name in ("mine", "theirs"))
        faults: list[BaseException] = []

        def thread(who: int, work: Callable[[], None]) -> threading.Thread:
            def run() -> None:
                turns.begin(who)
                try:
                    work()
                except BaseException as error:
                    faults.append(error)
                finally:
                    turns.end(who)

            return threading.Thread(target=run)

        threads = [
            thread(0, lambda: ours(problem, mine, trials, lambda done, best: turns.step(0))),
            thread(1, lambda: alone(problem, theirs, trials, values, lambda: turns.step(1))),
        ]
        for one in threads:
            one.start()
        turns.start()
        for one in threads:
            one.join()
        if faults:
            raise faults[0]
    # The first trial of each opens the storage and, in ours, solves the problem.
    seconds = [found[1:] for found in turns.seconds]
    return {
        "ours_ms": 1000 * statistics.median(seconds[0]),
        "optuna_ms": 1000 * statistics.median(seconds[1]),
        "overhead": sum(seconds[0]) / sum(seconds[1]) - 1,
        "overhead_of_medians": statistics.median(seconds[0]) / statistics.median(seconds[1]) - 1,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="published:mevit-gmacs", help="default: published:mevit-gmacs")
    parser.add_argument("--outcomes", default="published:mevit-cifar100", help="default: published:mevit-cifar100")
    parser.add_argument("--trials", type=int, default=200, help="of each (default 200)")
    parser.add_argument("--storages", default="memory,journal,sqlite")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    problem, _ = build_problem(
        load_profile(options.profile),
        load_outcomes(options.outcomes),
        SearchRequest.asked(budget="uniform:10%,100%", max_exits=MOST_EXITS),
    )
    if not problem.slowdown:
        # A measured profile has noise; the published one has none.
        problem = replace(problem, slowdown=tuple(0.95 + 0.001 * step for step in range(100)))
    rows = []
    print(f"{'storage':10}{'policy':15}{'ours ms':>10}{'Optuna ms':>11}{'overhead':>10}{'of medians':>12}")
    for kind in options.storages.split(","):
        for policy in ("interruptible", "contract"):
            row = compare(replace(problem, policy=policy), kind, options.trials)  # type: ignore[arg-type]
            rows.append({"storage": kind, "policy": policy, **row})
            print(
                f"{kind:10}{policy:15}{row['ours_ms']:10.2f}{row['optuna_ms']:11.2f}{row['overhead']:10.1%}"
                f"{row['overhead_of_medians']:12.1%}",
                flush=True,
            )
    if options.json:
        write_json(options.json, {"schema_version": 1, "trials": options.trials, "runs": rows})
    return 1 if any(row["overhead_of_medians"] >= MUST_STAY_UNDER for row in rows) else 0  # type: ignore[operator]


if __name__ == "__main__":
    sys.exit(main())
