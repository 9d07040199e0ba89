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
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import figures
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from exitsearch.errors import InputError
from exitsearch.search.build import build_problem
from exitsearch.search.problem import Choice, Problem
from exitsearch.search.solver.exact import solve
from exitsearch.search.study import run_study
from exitsearch.search.value import expected_value
from exitsearch.specs.load import load_outcomes, load_profile
from exitsearch.specs.question.request import Policy, SearchRequest

MOST_EXITS = 4
MUST_STAY_UNDER = 0.5
POLICIES: tuple[Policy, ...] = ("interruptible", "contract")
# Kind of storage to its address in a folder; none is in memory.
FORMS = {"memory": "", "journal": "FOLDER/NAME.journal", "sqlite": "sqlite:///FOLDER/NAME.db"}


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

    backend: str | JournalStorage | None = storage
    if storage and "://" not in storage:
        backend = JournalStorage(JournalFileBackend(storage))
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
        form = FORMS[kind].replace("FOLDER", folder)
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


def work(options: argparse.Namespace) -> int:
    if options.trials < 2:
        raise InputError(f"--trials must be 2 or more, since the first of each is left out; found {options.trials}")
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
    rows: list[dict[str, Any]] = []
    table = figures.Table(
        {"storage": "<9", "policy": "<14", "ours ms": "9.2f", "Optuna ms": "10.2f", "overhead": "9.1%",
         "of medians": "11.1%"}
    )  # fmt: skip
    for kind in options.storages:
        for policy in POLICIES:
            ratios = compare(replace(problem, policy=policy), kind, options.trials)
            rows.append({"storage": kind, "policy": policy, **ratios})
            table.row(*rows[-1].values())
    figures.write(options, {"trials": options.trials, "runs": rows})
    return 1 if any(row["overhead_of_medians"] >= MUST_STAY_UNDER for row in rows) else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    figures.add_option(parser, "--profile", default="published:mevit-gmacs")
    figures.add_option(parser, "--outcomes", default="published:mevit-cifar100")
    parser.add_argument("--trials", type=int, default=200, metavar="N", help="of each, 2 or more (default: 200)")
    parser.add_argument("--storages", type=storages, default=tuple(FORMS), metavar="A,B", help=f"of {','.join(FORMS)}")
    return figures.run(work, parser=parser, argv=argv)


def storages(text: str) -> tuple[str, ...]:
    found = figures.names(text)
    if not found or set(found) - set(FORMS):
        raise argparse.ArgumentTypeError(f"some of {', '.join(FORMS)}; found {text!r}")
    return found


if __name__ == "__main__":
    sys.exit(main())
