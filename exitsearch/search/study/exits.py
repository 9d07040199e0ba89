"""Optuna's search over the exits of one problem.

One categorical parameter a placement: `-` for no exit there, or a head. The study's name holds a hash of the whole
problem, since Optuna's categorical choices cannot change within a study: the same problem resumes its study, any other
gets its own, also in a shared storage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from exitsearch.errors import InputError
from exitsearch.search.problem import Choice, Problem
from exitsearch.search.study.sampler import NumberedSampler
from exitsearch.search.study.session import work_in
from exitsearch.search.study.shared import run_trials
from exitsearch.search.value import expected_value

NO_EXIT = "-"
_ORIGIN = "origin"
_SOLVER = "exact solver"

OnTrial = Callable[[int, float], None]


@dataclass(frozen=True)
class TriedChoice:
    """A finished trial.

    Attributes:
        number: of the trial in its study, from 0.
        value: expected value of its choice.
        exits: how many exits that has.
        allowed: whether it keeps to all limits.
        is_given: whether it is the exact solver's choice and not one that Optuna drew.
    """

    number: int
    value: float
    exits: int
    allowed: bool
    is_given: bool


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
        drawn: how many of them this run finished.
        seconds: duration of this run.
        interrupted: whether it was stopped before its last trial.
        history: every finished trial, in the order of their numbers.
    """

    name: str
    choice: Choice
    value: float
    value_without_first: float
    trials: int
    drawn: int
    seconds: float
    interrupted: bool
    history: tuple[TriedChoice, ...] = ()


def study_name(problem: Problem, *, key: str = "") -> str:
    """`exitsearch-` and 12 hexadecimal digits that stand for the whole problem, and for what else `key` names.

    The seed is not among it: processes with seeds of their own share one study, as is usual with Optuna.
    """
    return f"exitsearch-{hashlib.sha256((problem.key() + key).encode()).hexdigest()[:12]}"


def run_study(
    problem: Problem,
    *,
    trials: int,
    seed: int = 0,
    storage: str | None = None,
    first: Choice | None = None,
    on_trial: OnTrial | None = None,
    value: Callable[[Choice], float] | None = None,
    key: str = "",
) -> StudyResult:
    """Search with Optuna's TPE sampler. Ctrl-C ends it with what there is.

    A trial that breaks a limit counts as infeasible: Optuna's sampler knows by how much, and no result is taken from
    it.

    Args:
        problem: what to search.
        trials: finished trials that the study shall have in all, those of earlier runs included; at least 0.
        seed: seed of the sampler.
        storage: None keeps the study in memory; `FILE.journal` or `journal:///FILE` is a journal file (a fourth
            slash makes it an absolute path, as in SQLAlchemy's URLs); `sqlite:///FILE` and other URLs go to Optuna.
        first: choice of the study's first trial, from the solver.
        on_trial: called after every trial with the number of finished trials and the best value so far.
        value: expected value of a choice; None takes the formula of the problem's policy.
        key: what `value` depends on besides the problem, for the study's name.

    Raises:
        InputError: the number of trials is negative, or the storage cannot be opened.
        UnavailableError: the storage needs a package that is not installed.
    """
    if trials < 0:
        raise InputError(f"the number of trials must be at least 0, found {trials}; give a whole number from 0")
    name, reporter = study_name(problem, key=key), Reporter(on_trial)
    objective = _objective(problem, value or partial(expected_value, problem), marked=first is not None)

    def work(study: Study) -> None:
        study.sampler = NumberedSampler(seed, None if first is None else parameters_of(problem, first))
        run_trials(study, objective, trials=trials, on_finished=reporter)

    session = work_in(name, storage, work)
    done = session.complete
    choices = [(read_choice(problem, trial), trial) for trial in done]
    history = tuple(
        TriedChoice(trial.number, _value(trial), len(choice), problem.allows(choice), _is_given(trial))
        for choice, trial in sorted(choices, key=lambda found: found[1].number)
    )
    feasible = [(choice, trial) for choice, trial in choices if problem.allows(choice)]
    best, best_value = max(
        ((choice, _value(trial)) for choice, trial in feasible), key=lambda found: found[1], default=((), -float("inf"))
    )
    own = [_value(trial) for _, trial in feasible if not _is_given(trial)]
    return StudyResult(
        name=name,
        choice=best,
        value=best_value,
        value_without_first=max(own, default=-float("inf")),
        trials=len(done),
        drawn=reporter.drawn,
        seconds=session.seconds,
        interrupted=session.interrupted,
        history=history,
    )


def _is_given(trial: FrozenTrial) -> bool:
    return trial.user_attrs.get(_ORIGIN) == _SOLVER


def _parameter(placement: int) -> str:
    return f"placement {placement}"


def parameters_of(problem: Problem, choice: Choice) -> dict[str, str]:
    """A choice as a trial's parameters."""
    wanted = {candidate.placement: candidate.head for candidate in problem.chosen(choice)}
    return {_parameter(place): wanted.get(place, NO_EXIT) for place in problem.by_placement}


def suggest(problem: Problem, trial: Trial) -> Choice:
    """A trial's choice, and by how much it breaks each limit, told to Optuna."""
    choice = []
    for place, positions in problem.by_placement.items():
        heads = [NO_EXIT, *(problem.candidates[p].head for p in positions)]
        head = trial.suggest_categorical(_parameter(place), heads)
        if head != NO_EXIT:
            choice.append(problem.positions[place, head])
    for limit, excess in problem.excess(tuple(choice)).items():
        trial.set_constraint(limit, float(excess))
    return tuple(choice)


def read_choice(problem: Problem, trial: FrozenTrial) -> Choice:
    """The choice of a finished trial."""
    heads = ((place, trial.params.get(_parameter(place), NO_EXIT)) for place in problem.by_placement)
    return tuple(problem.positions[place, head] for place, head in heads if head != NO_EXIT)


def _objective(problem: Problem, value: Callable[[Choice], float], *, marked: bool) -> Callable[[Trial], float]:
    def objective(trial: Trial) -> float:
        if marked and trial.number == 0:
            trial.set_user_attr(_ORIGIN, _SOLVER)
        return value(suggest(problem, trial))

    return objective


class Reporter:
    """Counts the trials that this process finished, and passes on the best value so far.

    Attributes:
        drawn: how many these are.
    """

    def __init__(self, on_trial: OnTrial | None) -> None:
        self.drawn = 0
        self._on_trial = on_trial
        self._best = -float("inf")

    def __call__(self, trial: FrozenTrial, finished: int) -> None:
        """Take note of a trial just finished."""
        self.drawn += 1
        if all(excess <= 0 for excess in trial.constraints.values()):
            self._best = max(self._best, trial.values[0])
        if self._on_trial is not None:
            self._on_trial(finished, self._best)


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value
