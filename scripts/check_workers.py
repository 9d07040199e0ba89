"""Four processes of `exitsearch search --storage` on one study, one of them killed: no trial is lost or doubled.

    OMP_NUM_THREADS=1 python scripts/check_workers.py [--json FILE]       # a journal file and SQLite; minutes
    OMP_NUM_THREADS=1 python scripts/check_workers.py --storage postgresql+psycopg://me@localhost/studies

Every process runs the same command over the published CIFAR-100 table, as a user would. When a third of the trials are
finished, the first is killed with SIGKILL. Then, from the storage itself:

exactly    so many trials are finished, none is left running, and the numbers have no gap
lost       every finished trial has all its parameters, and its value is the expected value of its choice
doubled    no trial repeats an earlier one more often than in a study of one process alone, where only TPE itself can:
           it repeats what it holds for good, so a few repeats are usual
the others end with status 0 and all name the same study's best
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import figures
import optuna
from optuna.trial import FrozenTrial, TrialState

from exitsearch.cli.console import progress
from exitsearch.errors import InputError
from exitsearch.search.build import build_problem
from exitsearch.search.problem import Choice, Problem
from exitsearch.search.solver.exact import solve
from exitsearch.search.study import run_study, study_name
from exitsearch.search.study.shared import WITHDRAWN
from exitsearch.search.study.storage import open_storage
from exitsearch.search.value import expected_value
from exitsearch.specs.load import load_outcomes, load_profile
from exitsearch.specs.question.request import SearchRequest

PROFILE, OUTCOMES, BUDGET = "published:mevit-gmacs", "published:mevit-cifar100", "uniform:10%,100%"
STORAGES = ("workers.journal", "sqlite:///workers.db")
# Twice the repeats of one process alone, and a few: the counts of two honest runs differ by about that.
REPEATS_FACTOR, REPEATS_MORE = 2, 10


def start(storage: str, trials: int, out: Path) -> subprocess.Popen[str]:
    """One worker."""
    command = [sys.executable, "-m", "exitsearch.cli.main", "search", "--profile", PROFILE, "--outcomes", OUTCOMES]
    command += ["--budget-dist", BUDGET, "--no-guard", "--trials", str(trials), "--storage", storage]
    return subprocess.Popen(
        [*command, "--out", str(out), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def trials_of(problem: Problem, storage: str) -> list[FrozenTrial]:
    """All trials of the problem's study, or none while there is no study."""
    try:
        opened = open_storage(storage)
        assert opened is not None
        return optuna.load_study(study_name=study_name(problem), storage=opened).trials
    except KeyError:
        return []


def repeats(trials: Sequence[FrozenTrial]) -> int:
    """Trials that drew what an earlier one had drawn."""
    drawn = Counter(tuple(sorted(trial.params.items())) for trial in trials)
    return sum(count - 1 for count in drawn.values())


def faults(problem: Problem, trials: list[FrozenTrial], wanted: int, usual_repeats: int) -> list[str]:
    """What is wrong with a study, in words."""
    found = []
    if [trial.number for trial in trials] != list(range(len(trials))):
        found.append("the trials' numbers have gaps")
    states = Counter(trial.state for trial in trials)
    if states[TrialState.COMPLETE] != wanted:
        found.append(f"{states[TrialState.COMPLETE]} trials are finished, not {wanted}")
    if set(states) - {TrialState.COMPLETE, TrialState.FAIL}:
        found.append(f"some trials are neither finished nor given up: {dict(states)}")
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    for trial in done:
        if len(trial.params) != len(problem.by_placement):
            found.append(f"trial {trial.number} lacks parameters")
            continue
        heads = {int(name.removeprefix("placement ")): head for name, head in trial.params.items()}
        choice = tuple(problem.positions[place, heads[place]] for place in sorted(heads) if heads[place] != "-")
        if trial.value is None or not math.isclose(trial.value, expected_value(problem, choice), abs_tol=1e-12):
            found.append(f"the value of trial {trial.number} is not that of its choice")
    if repeats(done) > REPEATS_FACTOR * usual_repeats + REPEATS_MORE:
        found.append(f"{repeats(done)} trials repeat an earlier one; {usual_repeats} in one process alone")
    return found


def check(problem: Problem, storage: str, *, workers: int, wanted: int, usual_repeats: int) -> dict[str, Any]:
    """Run the workers on one storage, kill the first, and look at the study."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, progress(storage) as report:
        running = [start(storage, wanted, Path(folder) / f"worker{number}") for number in range(workers)]
        victim = running[0]
        while victim.poll() is None:
            done = sum(trial.state == TrialState.COMPLETE for trial in trials_of(problem, storage))
            report(done / wanted, f"{done} finished")
            if done >= wanted // 3:
                os.kill(victim.pid, signal.SIGKILL)
                break
            time.sleep(0.05)
        victim.communicate()
        answers = [worker.communicate() for worker in running[1:]]
    trials = trials_of(problem, storage)
    wrong = faults(problem, trials, wanted, usual_repeats)
    if victim.returncode != -signal.SIGKILL:
        wrong.append(f"the first worker ended with {victim.returncode} before it could be killed")
    wrong += [
        f"a worker ended with {worker.returncode}: {complaint.strip().splitlines()[-1:]}"
        for worker, (_, complaint) in zip(running[1:], answers, strict=True)
        if worker.returncode != 0
    ]
    values = {json.loads(answer)["value"] for answer, _ in answers if answer.strip()}
    if len(values) != 1:
        wrong.append(f"the workers found different values: {sorted(values)}")
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    return {
        "storage": storage.split("://")[0] if "://" in storage else "journal",
        "seconds": time.perf_counter() - started,
        "finished": sum(trial.state == TrialState.COMPLETE for trial in trials),
        "withdrawn": sum(WITHDRAWN in trial.user_attrs for trial in failed),
        "given_up": sum(WITHDRAWN not in trial.user_attrs for trial in failed),
        "running": sum(trial.state == TrialState.RUNNING for trial in trials),
        "repeats": repeats([trial for trial in trials if trial.state == TrialState.COMPLETE]),
        "faults": wrong,
    }


def repeats_alone(problem: Problem, trials: int) -> int:
    """How many trials repeat an earlier one in a study of one process."""
    drawn: list[Choice] = []

    def value(choice: Choice) -> float:
        drawn.append(choice)
        return expected_value(problem, choice)

    with progress("one process alone") as report:
        run_study(
            problem,
            trials=trials,
            first=solve(problem).choice,
            on_trial=lambda done, best: report(done / trials, f"{done} finished"),
            value=value,
        )
    return len(drawn) - len(set(drawn))


def work(options: argparse.Namespace) -> int:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    problem, _ = build_problem(load_profile(PROFILE), load_outcomes(OUTCOMES), SearchRequest.asked(budget=BUDGET))
    usual = repeats_alone(problem, options.trials)
    print(f"one process alone repeats {usual} of {options.trials} trials")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for storage in options.storage or [name.replace("workers", f"{folder}/workers") for name in STORAGES]:
            if trials_of(problem, storage):
                raise InputError(f"{storage} holds this study already; name a storage without it")
            row = check(problem, storage, workers=options.workers, wanted=options.trials, usual_repeats=usual)
            rows.append(row)
            print(
                f"{row['storage']}: {row['finished']} finished, {row['withdrawn']} withdrawn, {row['given_up']} given "
                f"up, {row['running']} running, {row['repeats']} repeat an earlier one; {row['seconds']:.0f} s",
                flush=True,
            )
            for fault in row["faults"]:
                print(f"  FAULT: {fault}")
    figures.write(options, {"workers": options.workers, "alone_repeats": usual, "runs": rows})
    return 1 if any(row["faults"] for row in rows) else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument(
        "--storage", nargs="+", metavar="URL", help="storages without this study (default: a new journal and SQLite)"
    )
    parser.add_argument("--workers", type=int, default=4, help="processes, one of which is killed (default 4)")
    parser.add_argument("--trials", type=int, default=1000, help="trials in all (default 1000)")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
