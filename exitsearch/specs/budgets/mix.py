"""A weighted mixture of budget distributions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from exitsearch.specs.budgets.base import (
    Amount,
    Array,
    BudgetDistribution,
    check_weights,
    parse_budget,
    plain,
    read_number,
)
from exitsearch.specs.budgets.slowed import Factors, Slowed, SlowedMix


@dataclass(frozen=True)
class Mix(BudgetDistribution):
    """A weighted mixture of other distributions."""

    name = "mix"
    form = "mix:W1*DIST1+W2*DIST2+..."
    meaning = "a budget from DIST1 with probability W1, from DIST2 with W2, ...; the weights add up to 1"
    parts: tuple[tuple[float, BudgetDistribution], ...]

    @classmethod
    def _build(cls, arguments: str) -> Self:
        parts = []
        # A plus sign separates only where a weight and a star follow: 1e+3 and file names keep theirs.
        for text in re.split(r"\+(?=\s*[\d.]+(?:[eE][-+]?\d+)?\s*\*)", arguments):
            weight, star, inner = text.partition("*")
            if not star:
                raise ValueError(f"{text.strip()!r} has no weight and star")
            if inner.strip().startswith("mix:"):
                raise ValueError("a mix cannot hold another mix")
            parts.append((read_number(weight), parse_budget(inner)))
        check_weights([weight for weight, _ in parts])
        return cls(tuple(parts))

    @property
    def _arguments(self) -> str:
        return "+".join(f"{plain(weight)}*{part}" for weight, part in self.parts)

    @property
    def amounts(self) -> tuple[Amount, ...]:
        return tuple(amount for _, part in self.parts for amount in part.amounts)

    @property
    def is_relative(self) -> bool:
        return any(part.is_relative for _, part in self.parts)

    def _changed(self, change: Callable[[Amount], Amount]) -> Mix:
        return Mix(tuple((weight, part._changed(change)) for weight, part in self.parts))

    def _survival(self, times_ms: Array) -> Array:
        total = np.zeros_like(times_ms)
        for weight, part in self.parts:
            total = total + weight * part._survival(times_ms)
        return total

    def _slowed(self, factors: Factors) -> Slowed:
        return SlowedMix([(weight, part._slowed(factors)) for weight, part in self.parts], factors)

    def quantile(self, q: float) -> float:
        if q <= 0 or q >= 1:
            ends = [part.quantile(q) for _, part in self.parts]
            return min(ends) if q <= 0 else max(ends)
        low, high = (bound([part.quantile(q) for _, part in self.parts]) for bound in (min, max))
        for _ in range(200):  # bisection: past 200 halvings nothing changes in float64
            middle = (low + high) / 2
            if 1.0 - float(self._survival(np.nextafter(np.asarray(middle), np.inf))) >= q:
                high = middle
            else:
                low = middle
        return high
