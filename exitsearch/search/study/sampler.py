"""The sampler of a study that many processes may share."""

from __future__ import annotations

import hashlib
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study
from optuna.trial import FrozenTrial


def trial_seed(seed: int, number: int) -> int:
    """Seed of one trial [0, 2^32), the same in every process.

    Args:
        seed: of all trials together.
        number: of the trial.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big")


class NumberedSampler(BaseSampler):
    """TPE whose random numbers depend on the seed and the trial's number only, so that processes never draw alike.

    Multivariate sampling sees that an exit delays the others: on the published CIFAR-100 table it came about twice as
    close to the optimum as sampling each placement by itself (200 trials without a first one, four seeds).

    Args:
        seed: of all trials together.
        first: parameters of trial 0; None draws them too.
    """

    def __init__(self, seed: int, first: dict[str, str] | None) -> None:
        self._seed = seed
        self._first = first
        self._space = IntersectionSearchSpace()
        self._number, self._sampler = -1, TPESampler()

    def _of(self, trial: FrozenTrial) -> TPESampler:
        if self._number != trial.number:
            self._number = trial.number
            self._sampler = TPESampler(multivariate=True, seed=trial_seed(self._seed, trial.number))
        return self._sampler

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Parameters that every finished trial had."""
        return self._space.calculate(study)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of these parameters together, as TPE draws them."""
        if trial.number == 0 and self._first is not None:
            return {}
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Value of one parameter, as long as too few trials are known."""
        if trial.number == 0 and self._first is not None:
            return self._first[param_name]
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)
