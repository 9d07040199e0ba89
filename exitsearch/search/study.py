"""Optuna's search over the same problem. The only file that imports optuna.

One categorical parameter a placement: `-` for no exit there, or a head. The study's name holds a hash of the whole
problem, since Optuna's categorical choices cannot change within a study: the same problem resumes its study, any other
gets its own, also in a shared storage.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import MaxTrialsCallback, Study
from optuna.trial import FrozenTrial, Trial, TrialState

from exitsearch.errors import InputError, UnavailableError
from exitsearch.search.problem import Choice, Problem
from exitsearch.search.value import expected_value

NO_EXIT = "-"
_LIMIT = "max_exits"
_ORIGIN = "origin"
_SOLVER = "exact solver"

OnTrial = Callable[[int, float], None]


@dataclass(frozen=True)
class StudyResult:
    """What a study found.

    Attributes:
        name: the study's name in its storage.
        choice: best choice among all finished trials that keep to the most exits; empty when there is none.
        value: its expected value; minus infinity when there is none.
        value_without_first: best value among the trials that Optuna drew itself. The first trial, from the solver,
            still guided them.
        trials: finished trials in the study, those of earlier runs included.
        seconds: duration of this run.
        interrupted: whether it was stopped before its last trial.
    """

    name: str
    choice: Choice
    value: float
    value_without_first: float
    trials: int
    seconds: float
    interrupted: bool


def study_name(problem: Problem) -> str:
    """`exitsearch-` and 12 hexadecimal digits that stand for the whole problem."""
    # A frozen dataclass prints every field in order, and repr of a float reads back exactly.
    return f"exitsearch-{hashlib.sha256(repr(problem).encode()).hexdigest()[:12]}"


def run_study(
    problem: Problem,
    *,
    trials: int,
    seed: int = 0,
    storage: str | None = None,
    first: Choice | None = None,
    on_trial: OnTrial | None = None,
) -> StudyResult:
    """Search with Optuna's TPE sampler. Ctrl-C ends it with what there is.

    A trial with more than the most exits counts as infeasible: Optuna's sampler knows by how much, and no result is
    taken from it.

    Args:
        problem: what to search.
        trials: finished trials that the study shall have in all, those of earlier runs included; at least 0.
        seed: seed of the sampler.
        storage: None keeps the study in memory; `FILE.journal` or `journal:///FILE` is a journal file (a fourth
            slash makes it an absolute path, as in SQLAlchemy's URLs); `sqlite:///FILE` and other URLs go to Optuna.
        first: choice of the first trial, from the solver; enqueued once in a study's life.
        on_trial: called after every trial with the number of finished trials and the best value so far.

    Raises:
        InputError: the number of trials is negative, or the storage cannot be opened.
        UnavailableError: the storage needs a package that is not installed.
    """
    if trials < 0:
        raise InputError(f"the number of trials must be at least 0, found {trials}")
    started = time.perf_counter()
    name = study_name(problem)
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = _open_study(name, storage)
        if first is not None:
            wanted = {problem.candidates[p].placement: problem.candidates[p].head for p in first}
            study.enqueue_trial(
                {_parameter(place): wanted.get(place, NO_EXIT) for place in problem.by_placement},
                user_attrs={_ORIGIN: _SOLVER},
                skip_if_exists=True,
            )
        finished = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        # Multivariate sampling sees that an exit delays the others: on the published CIFAR-100 table it came about
        # twice as close to the optimum as sampling each placement by itself (200 trials without a first one, four
        # seeds). A resumed study must not draw its first random trials again, so finished trials move the seed.
        study.sampler = TPESampler(multivariate=True, seed=(seed + finished) % 2**32)
        interrupted = False
        if trials > finished:
            try:
                study.optimize(
                    _objective(problem),
                    n_trials=trials - finished,
                    callbacks=[MaxTrialsCallback(trials, states=(TrialState.COMPLETE,)), _reporter(on_trial)],
                )
            except KeyboardInterrupt:
                interrupted = True
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    choices = [(_choice(problem, trial), trial) for trial in done]
    feasible = [(choice, trial) for choice, trial in choices if problem.allows(choice)]
    best, best_value = max(
        ((choice, _value(trial)) for choice, trial in feasible), key=lambda found: found[1], default=((), -float("inf"))
    )
    own = [_value(trial) for _, trial in feasible if trial.user_attrs.get(_ORIGIN) != _SOLVER]
    return StudyResult(
        name=name,
        choice=best,
        value=best_value,
        value_without_first=max(own, default=-float("inf")),
        trials=len(done),
        seconds=time.perf_counter() - started,
        interrupted=interrupted,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _parameter(placement: int) -> str:
    return f"placement {placement}"


def _objective(problem: Problem) -> Callable[[Trial], float]:
    options = {
        place: [NO_EXIT, *(problem.candidates[p].head for p in positions)]
        for place, positions in problem.by_placement.items()
    }

    def objective(trial: Trial) -> float:
        choice = []
        for place, heads in options.items():
            head = trial.suggest_categorical(_parameter(place), heads)
            if head != NO_EXIT:
                choice.append(problem.positions[place, head])
        if problem.max_exits is not None:
            trial.set_constraint(_LIMIT, float(len(choice) - problem.max_exits))
        return expected_value(problem, tuple(choice))

    return objective


def _reporter(on_trial: OnTrial | None) -> Callable[[Study, FrozenTrial], None]:
    best = -float("inf")

    def report(study: Study, trial: FrozenTrial) -> None:
        nonlocal best
        if on_trial is not None and trial.state == TrialState.COMPLETE:
            if all(excess <= 0 for excess in trial.constraints.values()):
                best = max(best, _value(trial))
            on_trial(trial.number + 1, best)

    return report


def _choice(problem: Problem, trial: FrozenTrial) -> Choice:
    heads = ((place, trial.params.get(_parameter(place), NO_EXIT)) for place in problem.by_placement)
    return tuple(problem.positions[place, head] for place, head in heads if head != NO_EXIT)


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def _open_study(name: str, storage: str | None) -> Study:
    try:
        return optuna.create_study(
            study_name=name, storage=_open_storage(storage), direction="maximize", load_if_exists=True
        )
    except ImportError as error:
        raise UnavailableError(
            f"the storage {storage} needs a package that is not installed ({error}); install it, or use a .journal file"
        ) from None
    except InputError:
        raise
    except Exception as error:
        # Storages are third-party drivers behind one URL, each with its own errors.
        raise InputError(
            f"the storage {storage} cannot be opened ({str(error).splitlines()[0] if str(error) else error!r}); "
            "write FILE.journal, sqlite:///FILE or another URL that Optuna takes"
        ) from None


def _open_storage(storage: str | None) -> str | BaseStorage | None:
    if storage is None:
        return None
    if storage.startswith("journal:///"):
        path = Path(storage.removeprefix("journal:///"))
    elif storage.endswith(".journal") and "://" not in storage:
        path = Path(storage)
    elif "://" in storage:
        return storage
    else:
        raise InputError(f"a storage is FILE.journal or a URL such as sqlite:///study.db, found {storage!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(path)))
