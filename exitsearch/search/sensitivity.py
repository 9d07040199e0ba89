"""Sensitivity: what a choice is worth when budgets or latencies turn out otherwise, and what would be best then."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from exitsearch.errors import InputError
from exitsearch.search.problem import Choice, Problem
from exitsearch.search.solver.exact import solve
from exitsearch.search.value import expected_value
from exitsearch.specs.budget import BudgetDistribution, parse_budget

# Cells and upper end (as a quantile) of the sum that stands for the mean budget: good to some 1e-5 of the largest.
_CELLS, _END = 200_000, 1 - 1e-7
_SIGMA = 0.5
_LONGER = 1.1


@dataclass(frozen=True)
class SensitivityRow:
    """One other world.

    Attributes:
        what: in words.
        value: expected value there of the choice made for this world.
        best: exact optimum there.
        loss: `best` minus `value`: the price of having chosen for this world.
        exits: how many exits the optimum there has.
    """

    what: str
    value: float
    best: float
    loss: float
    exits: int


def sensitivity(
    problem: Problem, choice: Choice, *, further: Sequence[BudgetDistribution] = ()
) -> list[SensitivityRow]:
    """A choice under six families of budgets with the same mean, with every latency 10% longer, and under others.

    Args:
        problem: of the policy `interruptible` or `contract`; its minimum values are left out, since another world may
            not be able to keep to them.
        further: other budgets, as recorded ones; shares are of the full model's latency.

    Raises:
        InputError: the policy is `confidence`, which has no exact optimum to compare with.
    """
    if problem.policy == "confidence":
        raise InputError(
            "sensitivity compares with exact optima, which the policy confidence does not have; "
            "choose --policy interruptible or contract"
        )
    mean = mean_budget(problem.budget)
    worlds = {"as chosen for": problem}
    worlds |= {f"budgets {text}": replace(problem, budget=parse_budget(text)) for text in same_mean(mean)}
    longer = tuple(
        replace(c, arrival_ms=c.arrival_ms * _LONGER, head_ms=c.head_ms * _LONGER) for c in problem.candidates
    )
    worlds["latency 10% longer"] = replace(problem, candidates=longer, final_ms=problem.final_ms * _LONGER)
    worlds |= {f"budgets {b}": replace(problem, budget=b.resolved(problem.final_ms)) for b in further}
    rows = []
    for what, world in worlds.items():
        solution = solve(replace(world, min_values=()), by_count=False)
        value = expected_value(world, choice)
        rows.append(SensitivityRow(what, value, solution.value, max(0.0, solution.value - value), len(solution.choice)))
    return rows


def mean_budget(budget: BudgetDistribution) -> float:
    """Mean of a distribution of budgets in ms: the integral of the chance that a budget is at least t.

    >>> round(mean_budget(parse_budget("uniform:10,30")), 3)
    20.0
    """
    step = budget.quantile(_END) / _CELLS
    return float(budget.survival((np.arange(_CELLS) + 0.5) * step).sum() * step)


def same_mean(mean_ms: float) -> list[str]:
    """Six families with one mean, from none to much spread.

    >>> same_mean(20.0)[:2]
    ['point:20', 'normal:20,5']
    """
    if mean_ms == 0:  # no spread around nothing
        return ["point:0"]
    m = f"{mean_ms:.6g}"
    return [
        f"point:{m}",
        # Truncated at four standard deviations below its mean, which moves the mean by less than 1e-4 of itself.
        f"normal:{m},{mean_ms / 4:.6g}",
        f"uniform:0,{2 * mean_ms:.6g}",
        f"lognormal:{mean_ms / math.exp(_SIGMA**2 / 2):.6g},{_SIGMA:g}",
        f"discrete:{mean_ms / 2:.6g}@0.5,{1.5 * mean_ms:.6g}@0.5",
        f"exponential:{m}",
    ]
