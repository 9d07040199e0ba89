"""BudgetDistribution: how much time an answer will have, as a distribution (DESIGN 4.2).

    >>> budget = parse_budget("uniform:10,80")
    >>> [round(float(g), 3) for g in budget.survival([5.0, 45.0, 90.0])]
    [1.0, 0.5, 0.0]
    >>> str(parse_budget("uniform:10%,100%").resolved(full_ms=40.0))
    'uniform:4,40'

A new family is one class under `budgets/` with a `name`, `form`, `meaning`, `_build`, `_survival` and `quantile`.
"""

from __future__ import annotations

from exitsearch.specs.budgets.base import FAMILIES, Amount, BudgetDistribution, parse_budget
from exitsearch.specs.budgets.continuous import Exponential, LogNormal, Normal, Uniform
from exitsearch.specs.budgets.mix import Mix
from exitsearch.specs.budgets.steps import Discrete, Point, Trace

__all__ = [
    "FAMILIES",
    "Amount",
    "BudgetDistribution",
    "Discrete",
    "Exponential",
    "LogNormal",
    "Mix",
    "Normal",
    "Point",
    "Trace",
    "Uniform",
    "parse_budget",
]
