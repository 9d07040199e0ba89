"""Several processes on one study: no trial is lost or done twice, also when one of them is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from random_problems import random_problem

from exitsearch.search.study import run_study, study_name
from exitsearch.search.study.shared import WITHDRAWN
from exitsearch.search.study.storage import KernelLock

HERE = Path(__file__).parent
PROBLEM = replace(random_problem(10, policy="interruptible"), max_exits=None)


def start(storage: str, trials: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(HERE / "worker.py"), storage, str(trials)], cwd=HERE, stderr=subprocess.PIPE
    )


def trials_of(storage: str) -> list[optuna.trial.FrozenTrial]:
    backend: object = storage
    if "sqlite" not in storage:
        backend = optuna.storages.JournalStorage(JournalFileBackend(storage))
    return optuna.load_study(study_name=study_name(PROBLEM), storage=backend).trials  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["{}/one.journal", "sqlite:///{}/one.db"])
def test_four_processes_share_one_study_and_one_is_killed(form: str, tmp_path: Path) -> None:
    storage, wanted, count = form.format(tmp_path), 40, 4
    # The study is made first, so that the killed process dies while trials are under way.
    run_study(PROBLEM, trials=1, seed=3, storage=storage, first=())
    workers = [start(storage, wanted) for _ in range(count)]
    victim = workers[0]
    deadline = time.monotonic() + 300
    while len(trials_of(storage)) < 10 and time.monotonic() < deadline:
        if any(worker.poll() for worker in workers):
            break
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    for worker in workers[1:]:
        _, complaints = worker.communicate(timeout=300)
        assert worker.returncode == 0, complaints.decode()
    trials = trials_of(storage)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    states = Counter(trial.state for trial in trials)
    # The killed one's trial was given up; of those that took the last place at once, all but one withdrew.
    assert set(states) <= {TrialState.COMPLETE, TrialState.FAIL}
    assert states[TrialState.COMPLETE] == wanted
    assert sum(t.state == TrialState.FAIL and WITHDRAWN not in t.user_attrs for t in trials) <= 1
    assert [t.number for t in trials if t.user_attrs.get("origin") == "exact solver"] == [0]
    # A later process finds nothing left to do.
    assert run_study(PROBLEM, trials=wanted, seed=3, storage=storage).trials == wanted


def test_processes_never_draw_alike(tmp_path: Path) -> None:
    """Random trials depend on their number only: two half studies by two processes are one whole study."""
    whole = str(tmp_path / "whole.journal")
    run_study(PROBLEM, trials=8, seed=5, storage=whole)
    halves = str(tmp_path / "halves.journal")
    for trials in (4, 8):
        run_study(PROBLEM, trials=trials, seed=5, storage=halves)
    assert [t.params for t in trials_of(whole)] == [t.params for t in trials_of(halves)]
    drawn = [tuple(sorted(t.params.items())) for t in trials_of(whole)]
    assert len(set(drawn)) > 4


def test_half_a_line_left_by_a_kill_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "one.journal"
    run_study(PROBLEM, trials=3, storage=str(path))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":4,"worker_')
    lock = KernelLock(path)
    lock.acquire()
    lock.release()
    assert path.read_bytes() == whole
    path.write_bytes(whole + b'{"op_code":4,"worker_')
    assert run_study(PROBLEM, trials=5, storage=str(path)).trials == 5
