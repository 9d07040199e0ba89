"""The skeleton of every study: open it, work in it until all is done or Ctrl-C, and say how it went."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from exitsearch.search.study.storage import Direction, open_study, quiet


@dataclass(frozen=True)
class Session:
    """How one process worked in a study.

    Attributes:
        study: what it worked in.
        seconds: how long.
        interrupted: whether it was stopped before its last trial.
    """

    study: Study
    seconds: float
    interrupted: bool

    @property
    def complete(self) -> list[FrozenTrial]:
        """Trials of the study that were finished with a value, by any process."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def work_in(
    name: str,
    storage: str | None,
    work: Callable[[Study], None],
    *,
    directions: Sequence[Direction] = ("maximize",),
) -> Session:
    """Open a study and work in it. Ctrl-C ends the work, and what is finished stays.

    Args:
        name: of the study.
        storage: as for `open_study`.
        work: runs the trials.
        directions: of each objective.

    Raises:
        InputError: the storage cannot be opened.
        UnavailableError: it needs a package that is not installed.
    """
    started, interrupted = time.perf_counter(), False
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = open_study(name, storage, directions=directions)
        try:
            work(study)
        except KeyboardInterrupt:
            interrupted = True
    return Session(study, time.perf_counter() - started, interrupted)
