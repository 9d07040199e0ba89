"""Running a study's trials, also from many processes at once: exactly so many finish, and none is lost.

A study that shall have N trials has N places. A finished trial keeps its place, a running one holds its own. Whoever
finds no place free waits until all are finished, or until one is given up.

Two processes may take the last place at once. The storage numbers the trials one after the other, so both see the same
order: a trial with N places taken before it in that order withdraws, at once and without a value. At most N are left.

A process that is killed leaves its trial running. Who waits gives such a trial up once it has seen it run for ten times
as long as the longest finished one; its place is free again. A process that was only slow finds its trial given up, and
its value does not count. So a wrong guess costs one trial's work, and never a trial too many.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from optuna.exceptions import TrialPruned, UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from exitsearch.search.study.storage import answering

# A pruned trial has had its turn.
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
# Why a failed trial has no value, in its user attributes.
WITHDRAWN = "withdrawn"

Objective = Callable[[Trial], float | Sequence[float]]
# Called with a trial just finished and the number of finished trials, as far as known.
OnFinished = Callable[[FrozenTrial, int], None]

# Shortest time in seconds after which a running trial is given up: longer than any hiccup of a storage.
PATIENCE_S = 5.0
_TIMES_LONGEST = 10
_POLL_S = 0.1


def run_trials(study: Study, objective: Objective, *, trials: int, on_finished: OnFinished | None = None) -> None:
    """Run trials until the study has so many finished ones, whoever ran them.

    Args:
        study: of one or several objectives.
        objective: a trial's value or values. Whatever it raises fails the trial and is raised; `TrialPruned` prunes it.
        trials: finished trials in all, those of earlier runs and of others included.
        on_finished: called after each trial of this process.

    Raises:
        ExitSearchError: the storage stopped answering.
    """
    with answering(study.study_name):
        _run(study, objective, trials, on_finished)


def _run(study: Study, objective: Objective, trials: int, on_finished: OnFinished | None) -> None:
    places = _Places(study, trials)
    while (trial := places.take()) is not None:
        try:
            told = _tell(study, trial, objective)
        except UpdateFinishedTrialError:
            continue  # another process gave it up
        except BaseException:
            _give_up(study, trial.number)
            raise
        if on_finished is not None and told.state in FINISHED:  # another process may have given it up
            on_finished(told, places.finished + 1)


def _tell(study: Study, trial: Trial, objective: Objective) -> FrozenTrial:
    try:
        values = objective(trial)
    except TrialPruned:
        return study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
    assert not np.isnan(values).any(), "Optuna fails a trial without a value, and it would be tried for ever"
    return study.tell(trial, values, skip_if_finished=True)


def _give_up(study: Study, number: int) -> None:
    with suppress(UpdateFinishedTrialError):  # it may finish at this very moment
        study.tell(number, state=TrialState.FAIL, skip_if_finished=True)


class _Places:
    """Who may run a trial.

    Attributes:
        finished: finished trials when a place was last taken.
    """

    def __init__(self, study: Study, trials: int) -> None:
        self._study = study
        self._trials = trials
        self._seen: dict[int, float] = {}
        self.finished = 0

    def take(self) -> Trial | None:
        """A trial to run, or None when all are finished. Waits while others hold the last places."""
        while True:
            taken = self._taken()
            running = [trial for trial in taken if trial.state == TrialState.RUNNING]
            self.finished = len(taken) - len(running)
            if self.finished >= self._trials:
                return None
            if len(taken) >= self._trials:
                self._wait(running)
                continue
            trial = self._study.ask()
            if sum(other.number < trial.number for other in self._taken()) < self._trials:
                return trial
            with suppress(UpdateFinishedTrialError):
                trial.set_user_attr(WITHDRAWN, "all places were taken")
            _give_up(self._study, trial.number)

    def _taken(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=(*FINISHED, TrialState.RUNNING))

    def _wait(self, running: list[FrozenTrial]) -> None:
        now = time.monotonic()
        self._seen = {trial.number: self._seen.get(trial.number, now) for trial in running}
        done = self._study.get_trials(deepcopy=False, states=FINISHED)
        longest = max((trial.duration.total_seconds() for trial in done if trial.duration), default=0.0)
        for number, since in self._seen.items():
            if now - since > max(PATIENCE_S, _TIMES_LONGEST * longest):
                _give_up(self._study, number)
        time.sleep(_POLL_S)
