"""BudgetDistribution: how much time an answer will have, as a distribution (DESIGN 4.2).

    >>> budget = parse_budget("uniform:10,80")
    >>> [round(float(g), 3) for g in budget.survival([5.0, 45.0, 90.0])]
    [1.0, 0.5, 0.0]
    >>> str(parse_budget("uniform:10%,100%").resolved(full_ms=40.0))
    'uniform:4,40'

A new family is one class under `budgets/` with a `name`, `form`, `meaning`, `_build`, `_survival` and `quantile`, and
`_slowed` where slow-down samples can be averaged quicker than one by one.
"""

from __future__ import annotations

from exitsearch.specs.budgets.base import FAMILIES, Amount, BudgetDistribution, parse_budget
from exitsearch.specs.budgets.continuous import Exponential, LogNormal, Normal, Uniform
from exitsearch.specs.budgets.deadline import TIME_TOLERANCE, latest_in_time
from exitsearch.specs.budgets.mix import Mix
from exitsearch.specs.budgets.slowed import Slowed
from exitsearch.specs.budgets.steps import Discrete, Point, Trace

__all__ = [
    "FAMILIES",
    "TIME_TOLERANCE",
    "Amount",
    "BudgetDistribution",
    "Discrete",
    "Exponential",
    "LogNormal",
    "Mix",
    "Normal",
    "Point",
    "Slowed",
    "Trace",
    "Uniform",
    "latest_in_time",
    "parse_budget",
]
