"""Optuna's search for the front of several objectives: NSGA-II over the exits of one problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, NSGAIISampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from exitsearch.search.front.aims import Aims
from exitsearch.search.problem import Choice
from exitsearch.search.study.exits import OnTrial, Reporter, parameters_of, read_choice, study_name, suggest
from exitsearch.search.study.sampler import trial_seed
from exitsearch.search.study.session import work_in
from exitsearch.search.study.shared import run_trials
from exitsearch.search.study.storage import Direction

# Trials of a generation: with 100 trials there are three.
_POPULATION = 32


@dataclass(frozen=True)
class FrontStudy:
    """What a study of several objectives found.

    Attributes:
        name: the study's name in its storage.
        choices: of every finished trial that keeps to all limits, each once.
        trials: finished trials in the study, those of earlier runs included.
        drawn: how many of them this run finished.
        seconds: duration of this run.
        interrupted: whether it was stopped before its last trial.
    """

    name: str
    choices: list[Choice]
    trials: int
    drawn: int
    seconds: float
    interrupted: bool


def run_front_study(
    aims: Aims,
    *,
    trials: int,
    seed: int = 0,
    storage: str | None = None,
    first: Sequence[Choice] = (),
    on_trial: OnTrial | None = None,
) -> FrontStudy:
    """Search with NSGA-II. Ctrl-C ends it with what there is.

    Args:
        aims: the problem and its objectives.
        trials: finished trials that the study shall have in all, those of earlier runs included; at least 0.
        seed: seed of the sampler.
        storage: as for `run_study`.
        first: choices of the study's first trials, from the solver.
        on_trial: called after every trial with the number of finished trials and the highest value so far.

    Raises:
        InputError: the storage cannot be opened.
        UnavailableError: the storage needs a package that is not installed.
    """
    problem = aims.problem
    name = study_name(problem, key=",".join(aims.names))
    directions: list[Direction] = ["maximize" if objective == "value" else "minimize" for objective in aims.names]
    reporter = Reporter(on_trial)

    def objective(trial: Trial) -> tuple[float, ...]:
        choice = suggest(problem, trial)
        amounts = aims.amounts(choice)
        return tuple(amounts[name] for name in aims.names)

    def work(study: Study) -> None:
        study.sampler = NumberedGenetic(seed, [parameters_of(problem, choice) for choice in first])
        run_trials(study, objective, trials=trials, on_finished=reporter)

    session = work_in(name, storage, work, directions=directions)
    done = session.complete
    choices = dict.fromkeys(read_choice(problem, trial) for trial in done)
    return FrontStudy(
        name=name,
        choices=[choice for choice in choices if problem.allows(choice)],
        trials=len(done),
        drawn=reporter.drawn,
        seconds=session.seconds,
        interrupted=session.interrupted,
    )


class NumberedGenetic(BaseSampler):
    """NSGA-II whose random numbers depend on the seed and the trial's number only, so that processes never draw alike.

    Args:
        seed: of all trials together.
        first: parameters of the first trials, in order; the others are drawn.
    """

    def __init__(self, seed: int, first: Sequence[dict[str, str]]) -> None:
        self._seed = seed
        self._first = first
        self._space = IntersectionSearchSpace()
        self._number, self._sampler = -1, NSGAIISampler(population_size=_POPULATION)

    def _of(self, trial: FrozenTrial) -> NSGAIISampler:
        if self._number != trial.number:
            self._number = trial.number
            self._sampler = NSGAIISampler(population_size=_POPULATION, seed=trial_seed(self._seed, trial.number))
        return self._sampler

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Parameters that every finished trial had and that have more than one value."""
        return {name: found for name, found in self._space.calculate(study).items() if not found.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of these parameters together, as NSGA-II draws them."""
        if trial.number < len(self._first):
            # NSGA-II notes here which generation a trial is of, and breeds only from trials that it has noted.
            self._of(trial).get_trial_generation(study, trial)
            return {}
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Value of one parameter: in the first generation, and where NSGA-II mutates."""
        if trial.number < len(self._first):
            return self._first[trial.number][param_name]
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)
