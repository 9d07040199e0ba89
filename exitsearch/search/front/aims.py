"""Objectives: what a choice may be judged by beside its value, and which problem asks for less of it.

    value    expected value, with latency noise                                               as much as can be
    params   parameters of all chosen heads                                                   as few as can be
    energy   mJ that the costliest answer takes, as `--max-energy` limits it                  as little as can be
    time     ms that the device works on an answer, on the average over budgets, at           as short as can be
             median latency: under `interruptible` until the budget strikes or the final exit
             has answered; under `contract` until the head that is run has, 0 where none is

The exact solver knows one aim. It still finds points of a front: the best value within limits on the other objectives
(epsilon constraints, Haimes, Lasdon and Wismer 1971) cannot be beaten in value by any choice that costs no more. Under
`interruptible` the time only depends on how much all chosen heads take together, and rises with it, so a limit on that
stands for one on time. Under `contract` it depends on which answers are used, and no limit of the solver does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from exitsearch.errors import InputError
from exitsearch.search.problem import Array, Choice, Problem
from exitsearch.search.resources import RESOURCES
from exitsearch.search.value import exit_probabilities, expected_value, finish_times
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.request import OBJECTIVES, Objective

UNITS: dict[str, str] = {"value": "", "params": "", "energy": "mJ", "time": "ms"}

# Cells of the sum that stands for the mean of min(budget, time): good to a few 1e-5 of the time.
_CELLS = 20_000
# Limits are let out by this share, so that rounding in a sum never shuts out the choice that they were read from.
_LET_OUT = 1e-12


def read_objectives(names: Sequence[str], problem: Problem, profile: Profile) -> tuple[Objective, ...]:
    """Two or three objectives by name, value first.

    Args:
        names: of a request.
        problem: that is searched.
        profile: that it was built from; it must know what is an objective.

    Raises:
        InputError: the profile knows nothing about one.
    """
    asked = set(names)
    heads = {(c.placement, c.head) for c in problem.candidates}
    costs = [cost for cost in profile.heads if (cost.placement, cost.head) in heads]
    for name in asked & RESOURCES.keys():
        source = RESOURCES[name].source
        if source is not None and not source.measure(profile, costs).known:
            raise InputError(f"{source.unknown}, so {name} is no objective; {source.remedy}, or leave {name} out")
    return tuple(name for name in OBJECTIVES if name in asked)


class Aims:
    """The objectives of one problem.

    Args:
        problem: of the policy `interruptible` or `contract`.
        names: value and one or two others.
    """

    def __init__(self, problem: Problem, names: Sequence[Objective]) -> None:
        self.problem = problem
        self.names = tuple(names)
        self.others = tuple(name for name in names if name != "value")
        values = (problem.fallback, problem.final_value, *(c.value for c in problem.candidates))
        # Values this close differ by rounding only.
        self.tolerance = 1e-12 * max(1e-300, *(abs(value) for value in values))

    def amounts(self, choice: Choice) -> dict[str, float]:
        """Every objective of a choice, in its unit."""
        return {"value": self.value(choice)} | {name: self.cost(name, choice) for name in self.others}

    def value(self, choice: Choice) -> float:
        """Expected value."""
        return expected_value(self.problem, choice)

    def cost(self, name: Objective, choice: Choice) -> float:
        """One of the other objectives."""
        return self.time_ms(choice) if name == "time" else float(self.problem.taken(name, choice))

    @property
    def limitable(self) -> tuple[Objective, ...]:
        """The objectives beside value that the exact solver can limit."""
        return tuple(name for name in self.others if name != "time" or self.problem.policy == "interruptible")

    def within(self, most: dict[Objective, float]) -> Problem:
        """The problem with limits on some objectives, beside its own."""
        limits = dict(self.problem.limits)
        for name, limit in most.items():
            assert name in self.limitable
            limit *= 1 + _LET_OUT
            if name == "time":
                limit = max(0.0, self._longest(limit) - self.problem.final_ms)
            elif name == "params":
                limit = int(limit)
            limits[name] = min(limit, limits.get(name, limit))
        return replace(self.problem, limits=limits)

    def unbeaten(self, choices: Sequence[Choice]) -> list[Choice]:
        """Those that no other is as good as in every objective; of equal ones the first. The highest value first."""
        if not choices:
            return []
        # What is wanted little of, with how much of it is rounding [choices, objectives].
        less = np.array([[-self.value(c), *(self.cost(name, c) for name in self.others)] for c in choices])
        slack = np.maximum(_LET_OUT * np.abs(less), [self.tolerance, *(0.0 for _ in self.others)])
        kept = []
        for row, mine in enumerate(less):
            as_good = (less <= mine + slack[row]).all(axis=1)
            better = as_good & (less < mine - slack[row]).any(axis=1)
            if not better.any() and not as_good[:row].any():
                kept.append(row)
        return [choices[row] for row in sorted(kept, key=lambda row: less[row, 0])]

    def time_ms(self, choice: Choice) -> float:
        """How long the device works on an answer, on the average over budgets, at median latency."""
        times = finish_times(self.problem, choice)
        if self.problem.policy == "interruptible":
            return float(np.interp(times[-1], *self._worked))
        chances, _ = exit_probabilities(self.problem, choice, noise=False)
        return float(chances @ times)

    def _longest(self, time_ms: float) -> float:
        """The latest that the final exit may answer for the device to work no longer than that on the average."""
        times, worked = self._worked
        last = int(np.searchsorted(worked, time_ms, side="right")) - 1
        if last + 1 == len(worked):
            return float(times[-1])
        return float(np.interp(time_ms, worked[last : last + 2], times[last : last + 2]))

    @cached_property
    def _worked(self) -> tuple[Array, Array]:
        """Mean of min(budget, t) at times t: the integral of the chance that a budget is at least t. Rises with t."""
        places = self.problem.by_placement.values()
        longest = self.problem.final_ms + sum(max(self.problem.candidates[p].head_ms for p in here) for here in places)
        step = longest / _CELLS
        reached = self.problem.budget.survival((np.arange(_CELLS) + 0.5) * step)
        times: Array = np.asarray(np.arange(_CELLS + 1) * step, dtype=np.float64)
        return times, np.concatenate([[0.0], np.cumsum(reached) * step])
