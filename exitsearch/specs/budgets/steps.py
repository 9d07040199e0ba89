"""Budget distributions over finitely many budgets: a point, a few with probabilities, a recorded trace."""

from __future__ import annotations

import math
import os
import re
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from exitsearch.errors import FileError, shown
from exitsearch.specs.budgets.base import (
    Amount,
    Array,
    BudgetDistribution,
    check_weights,
    plain,
    read_amount,
    read_amounts,
    read_number,
)
from exitsearch.specs.budgets.deadline import latest_in_time
from exitsearch.specs.budgets.slowed import Factors, Slowed, SlowedSteps
from exitsearch.specs.document import read_text
from exitsearch.specs.table import csv_rows, is_header, is_number


class _Steps(BudgetDistribution):
    """What the distributions over finitely many budgets share."""

    @property
    @abstractmethod
    def _points(self) -> tuple[Array, Array]:
        """Budgets in ms, ascending, and their probabilities, which add up to 1."""

    @cached_property
    def _staircase(self) -> tuple[Array, Array]:
        """Up to when an answer is within each budget, and the chance of a budget at or beyond it [budgets + 1]."""
        budgets, weights = self._points
        # One more 0 for times past them all. The weights may miss 1 by rounding.
        tail = np.append(np.cumsum(weights[::-1])[::-1], 0.0)
        tail[0] = 1.0
        return latest_in_time(budgets), tail

    def _survival(self, times_ms: Array) -> Array:
        latest, tail = self._staircase
        result: Array = tail[np.searchsorted(latest, times_ms, side="left")]
        return result

    def _slowed(self, factors: Factors) -> Slowed:
        latest, tail = self._staircase
        return SlowedSteps(latest, -np.diff(tail), factors)

    def quantile(self, q: float) -> float:
        budgets, weights = self._points
        index = int(np.searchsorted(np.cumsum(weights), q - 1e-12, side="left"))
        return float(budgets[min(index, len(budgets) - 1)])


@dataclass(frozen=True)
class Point(_Steps):
    """One budget, always."""

    name = "point"
    form = "point:T"
    meaning = "always exactly T"
    at: Amount

    @classmethod
    def _build(cls, arguments: str) -> Self:
        return cls(*read_amounts(arguments, 1, cls.form))

    @property
    def _arguments(self) -> str:
        return str(self.at)

    @property
    def amounts(self) -> tuple[Amount, ...]:
        return (self.at,)

    def _changed(self, change: Callable[[Amount], Amount]) -> Point:
        return Point(change(self.at))

    @property
    def _points(self) -> tuple[Array, Array]:
        return np.array([self.at.number]), np.array([1.0])


@dataclass(frozen=True)
class Discrete(_Steps):
    """Finitely many budgets with their probabilities."""

    name = "discrete"
    form = "discrete:T1@P1,T2@P2,..."
    meaning = "budget T1 with probability P1, T2 with P2, ...; the probabilities add up to 1"
    points: tuple[tuple[Amount, float], ...]

    @classmethod
    def _build(cls, arguments: str) -> Self:
        points = []
        for part in arguments.split(","):
            time, at, weight = part.partition("@")
            if not at:
                raise ValueError(f"{part.strip()!r} has no @probability")
            points.append((read_amount(time), read_number(weight)))
        check_weights([weight for _, weight in points])
        return cls(tuple(points))

    @property
    def _arguments(self) -> str:
        return ",".join(f"{time}@{plain(weight)}" for time, weight in self.points)

    @property
    def amounts(self) -> tuple[Amount, ...]:
        return tuple(time for time, _ in self.points)

    def _changed(self, change: Callable[[Amount], Amount]) -> Discrete:
        return Discrete(tuple((change(time), weight) for time, weight in self.points))

    @property
    def _points(self) -> tuple[Array, Array]:
        budgets = np.array([time.number for time, _ in self.points])
        weights = np.array([weight for _, weight in self.points])
        order = np.argsort(budgets, kind="stable")
        return budgets[order], weights[order]


@dataclass(frozen=True)
class Trace(_Steps):
    """Budgets recorded in use, each as likely as the others, all of them `factor` times as long."""

    name = "trace"
    form = "trace:[FACTOR*]FILE[:COLUMN]"
    meaning = "budgets in a CSV file, in ms, one a row, FACTOR times as long; COLUMN names one of several columns"
    source: str
    recorded_ms: tuple[float, ...]
    factor: float = 1.0

    @classmethod
    def _build(cls, arguments: str) -> Self:
        # os.path: a name that is too long, or in a folder that may not be read, is no file either. Reading it says so.
        factor, source = 1.0, arguments
        times = re.fullmatch(r"([\d.]+(?:e-?\d+)?)\*(.+)", arguments)
        if times and not os.path.exists(arguments):
            factor, source = read_number(times[1]), times[2]
            if factor <= 0:
                raise ValueError(f"FACTOR must be above 0, found {plain(factor)}")
        file, column = source, None
        if not os.path.exists(source) and ":" in source:
            file, _, column = source.rpartition(":")
        return cls(source, _read_trace(Path(file), column), factor)

    @property
    def _arguments(self) -> str:
        return self.source if self.factor == 1 else f"{plain(self.factor)}*{self.source}"

    @property
    def amounts(self) -> tuple[Amount, ...]:
        return tuple(Amount(budget * self.factor) for budget in self.recorded_ms)

    @property
    def is_relative(self) -> bool:
        return False

    def _changed(self, change: Callable[[Amount], Amount]) -> Trace:
        # What is written down are the recorded numbers, so a change is kept as one factor on all of them.
        return replace(self, factor=change(Amount(self.factor)).number)

    @property
    def _points(self) -> tuple[Array, Array]:
        budgets = np.sort(np.array(self.recorded_ms)) * self.factor
        return budgets, np.full(len(budgets), 1.0 / len(budgets))


def _read_trace(path: Path, column: str | None) -> tuple[float, ...]:
    rows = list(csv_rows(read_text(path), path))
    if not rows:
        raise FileError(path, "a trace holds one budget a row, found an empty file")
    first = rows[0][1]
    has_header = column is not None or is_header(first)
    if column is not None:
        if column not in first:
            raise FileError(path, f"no column {column!r}; found: {', '.join(first)}")
        position = first.index(column)
    elif len(first) == 1:
        position = 0
    else:
        columns = f" out of {', '.join(first)}" if has_header else "; its first row must name the columns"
        raise FileError(path, "several columns", remedy=f"name one as trace:{path}:COLUMN{columns}")
    budgets = []
    for line, row in rows[has_header:]:
        cell = row[position] if position < len(row) else ""
        if not is_number(cell) or not 0 <= float(cell) < math.inf:
            raise FileError(path, f"row {line}: a budget is a number of milliseconds from 0, found {shown(cell)}")
        budgets.append(float(cell))
    if not budgets:
        raise FileError(path, "a trace holds one budget a row, found only a header")
    return tuple(budgets)
