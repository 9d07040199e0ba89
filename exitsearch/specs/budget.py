"""BudgetDistribution: how much time an answer will have, as a distribution (DESIGN 4.2).

    >>> budget = parse_budget("uniform:10,80")
    >>> [round(float(g), 3) for g in budget.survival([5.0, 45.0, 90.0])]
    [1.0, 0.5, 0.0]
    >>> str(parse_budget("uniform:10%,100%").resolved(full_ms=40.0))
    'uniform:4,40'

A new family is one class here with a `name`, `form`, `_build` and `survival`, entered in `FAMILIES`.
"""

from __future__ import annotations

import csv
import io
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exitsearch.errors import FileError, InputError, one_of
from exitsearch.specs.document import read_text

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Amount:
    """A time: milliseconds, or with `share` a part of the full model's latency (0.1 stands for `10%`)."""

    number: float
    share: bool = False

    def __str__(self) -> str:
        return f"{_plain(self.number * 100)}%" if self.share else _plain(self.number)

    def resolved(self, full_ms: float) -> Amount:
        return Amount(self.number * full_ms) if self.share else self


def _plain(number: float) -> str:
    """The shortest text that reads back to the same number, without a trailing `.0` or float dust."""
    rounded = float(f"{number:.12g}")
    return str(int(rounded)) if rounded.is_integer() and abs(rounded) < 1e15 else repr(rounded)


class BudgetDistribution(ABC):
    """The distribution of the time allowed for one answer, in milliseconds per batch at the profile's batch size."""

    name: ClassVar[str]
    form: ClassVar[str]
    meaning: ClassVar[str]

    @classmethod
    @abstractmethod
    def _build(cls, arguments: str) -> Self:
        """Read the part after the colon; raises ValueError with the rule that is broken."""

    @property
    @abstractmethod
    def _arguments(self) -> str:
        """The part after the colon."""

    def __str__(self) -> str:
        return f"{self.name}:{self._arguments}"

    @property
    @abstractmethod
    def amounts(self) -> tuple[Amount, ...]:
        """Every time that the distribution is written with."""

    @property
    def is_relative(self) -> bool:
        """Whether some number is a share of the full model's latency, still to be resolved."""
        return any(amount.share for amount in self.amounts)

    @abstractmethod
    def resolved(self, full_ms: float) -> BudgetDistribution:
        """The same distribution with every share of `full_ms` turned into milliseconds."""

    @abstractmethod
    def _survival(self, times_ms: Array) -> Array: ...

    def survival(self, times_ms: ArrayLike) -> Array:
        """G(t) = P(B >= t) for every t, the chance that an answer finished at t is still in time.

        Args:
            times_ms: times in milliseconds, any shape.

        Raises:
            InputError: when the distribution still holds shares (`10%`); call `resolved` first.
        """
        if self.is_relative:
            raise InputError(f"budget {self} holds shares of the full model's latency; resolve it with a profile first")
        return self._survival(np.asarray(times_ms, dtype=np.float64))

    @abstractmethod
    def quantile(self, q: float) -> float:
        """The budget that a share q of requests does not exceed, in ms; 0 <= q <= 1 (q = 1 may be infinite)."""

    def support(self) -> tuple[float, float]:
        """Smallest and largest possible budget in ms; the largest may be infinite."""
        return self.quantile(0.0), self.quantile(1.0)


def _amounts(arguments: str, count: int, form: str) -> list[Amount]:
    parts = arguments.split(",")
    if len(parts) != count:
        raise ValueError(f"write {form}; found {len(parts)} number{'s' if len(parts) != 1 else ''}")
    return [_amount(part) for part in parts]


def _amount(text: str) -> Amount:
    text = text.strip()
    share = text.endswith("%")
    number = _number(text.removesuffix("%"))
    if number < 0:
        raise ValueError(f"a time is at least 0, found {text}")
    return Amount(number / 100 if share else number, share)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text.strip()!r} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"a finite number is needed, found {text.strip()}")
    return number


@dataclass(frozen=True)
class Uniform(BudgetDistribution):
    """Every budget between two bounds equally likely."""

    name = "uniform"
    form = "uniform:LO,HI"
    meaning = "every budget between LO and HI equally likely"
    low: Amount
    high: Amount

    @classmethod
    def _build(cls, arguments: str) -> Self:
        low, high = _amounts(arguments, 2, cls.form)
        if low.share == high.share and not low.number < high.number:
            raise ValueError(f"LO must be below HI, found {low} and {high}")
        return cls(low, high)

    @property
    def _arguments(self) -> str:
        return f"{self.low},{self.high}"

    @property
    def amounts(self) -> tuple[Amount, ...]:
        return (self.low, self.high)

    def resolved(self, full_ms: float) -> Uniform:
        low, high = self.low.resolved(full_ms), self.high.resolved(full_ms)
        if not low.number < high.number:
            raise InputError(f"budget {self}: LO must be below HI, found {low} and {high} ms")
        return Uniform(low, high)

    def _survival(self, times_ms: Array) -> Array:
        low, high = self.low.number, self.high.number
        result: Array = np.clip((high - times_ms) / (high - low), 0.0, 1.0)
        return result

    def quantile(self, q: float) -> float:
        return self.low.number + q * (self.high.number - self.low.number)


@dataclass(frozen=True)
class Normal(BudgetDistribution):
    """A normal distribution truncated at 0."""

    name = "normal"
    form = "normal:MEAN,STD"
    meaning = "normal around MEAN with standard deviation STD, truncated at 0"
    mean: Amount
    std: Amount

    @classmethod
    def _build(cls, arguments: str) -> Self:
        mean, std = _amounts(arguments, 2, cls.form)
        if std.number <= 0:
            raise ValueError(f"STD must be above 0, found {std}")
        return cls(mean, std)

    @property
    def _arguments(self) -> str:
        return f"{self.mean},{self.std}"

    @property
    def amounts(self) -> tuple[Amount, ...]:
        return (self.mean, self.std)

    def resolved(self, full_ms: float) -> Normal:
        return Normal(self.mean.resolved(full_ms), self.std.resolved(full_ms))

    def _survival(self, times_ms: Array) -> Array:
        from scipy.special import ndtr

        mean, std = self.mean.number, self.std.number
        result: Array = np.where(times_ms <= 0, 1.0, ndtr((mean - times_ms) / std) / ndtr(mean / std))
        return result

    def quantile(self, q: float) -> float:
        from scipy.special import ndtr, ndtri

        mean, std = self.mean.number, self.std.number
        # From the upper tail, so that far quantiles keep their digits.
        return max(0.0, float(mean - std * ndtri((1.0 - q) * ndtr(mean / std))))


@dataclass(frozen=True)
class LogNormal(BudgetDistribution):
    """A lognormal distribution."""

    name = "lognormal"
    form = "lognormal:MEDIAN,SIGMA"
    meaning = "lognormal around MEDIAN; SIGMA is the standard deviation of the natural logarithm (no unit)"
    median: Amount
    sigma: float

    @classmethod
    def _build(cls, arguments: str) -> Self:
        parts = arguments.split(",")
        if len(parts) != 2:
            raise ValueError(f"write {cls.form}; found {len(parts)} number{'s' if len(parts) != 1 else ''}")
        median, sigma = _amount(parts[0]), _number(parts[1])
        if median.number <= 0 or sigma <= 0:
            raise ValueError(f"MEDIAN and SIGMA must be above 0, found {median} and {_plain(sigma)}")
        return cls(median, sigma)

    @property
    def _arguments(self) -> str:
        return f"{self.median},{_plain(self.sigma)}"

    @property
    def amounts(self) -> tuple[Amount, ...]:
        return (self.median,)

    def resolved(self, full_ms: float) -> LogNormal:
        return LogNormal(self.median.resolved(full_ms), self.sigma)

    def _survival(self, times_ms: Array) -> Array:
        from scipy.special import ndtr

        positive = np.maximum(times_ms, np.finfo(float).tiny)
        result: Array = np.where(
            times_ms <= 0, 1.0, ndtr((math.log(self.median.number) - np.log(positive)) / self.sigma)
        )
        return result

    def quantile(self, q: float) -> float:
        from scipy.special import ndtri

        return float(self.median.number * np.exp(self.sigma * ndtri(q)))


@dataclass(frozen=True)
class Exponential(BudgetDistribution):
    """An exponential distribution."""

    name = "exponential"
    form = "exponential:MEAN"
    meaning = "exponential: the time until an interruption that may strike at any moment, MEAN on average"
    mean: Amount

    @classmethod
    def _build(cls, arguments: str) -> Self:
        (mean,) = _amounts(arguments, 1, cls.form)
        if mean.number <= 0:
            raise ValueError(f"MEAN must be above 0, found {mean}")
        return cls(mean)

    @property
    def _arguments(self) -> str:
        return str(self.mean)

    @property
    def amounts(self) -> tuple[Amount, ...]:
        return (self.mean,)

    def resolved(self, full_ms: float) -> Exponential:
        return Exponential(self.mean.resolved(full_ms))

    def _survival(self, times_ms: Array) -> Array:
        result: Array = np.exp(-np.maximum(times_ms, 0.0) / self.mean.number)
        return result

    def quantile(self, q: float) -> float:
        return math.inf if q >= 1 else -self.mean.number * math.log1p(-q)


class _Steps(BudgetDistribution):
    """What the distributions over finitely many budgets share."""

    @property
    @abstractmethod
    def _points(self) -> tuple[Array, Array]:
        """Budgets in ms, ascending, and their probabilities, which add up to 1."""

    def _survival(self, times_ms: Array) -> Array:
        budgets, weights = self._points
        # tail[i]: chance of a budget at or beyond budgets[i]; one more 0 for times past them all.
        tail = np.append(np.cumsum(weights[::-1])[::-1], 0.0)
        tail[0] = 1.0
        result: Array = tail[np.searchsorted(budgets, times_ms, side="left")]
        return result

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
        return cls(*_amounts(arguments, 1, cls.form))

    @property
    def _arguments(self) -> str:
        return str(self.at)

    @property
    def amounts(self) -> tuple[Amount, ...]:
        return (self.at,)

    def resolved(self, full_ms: float) -> Point:
        return Point(self.at.resolved(full_ms))

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
                raise ValueError(f"write {cls.form}; {part.strip()!r} has no @probability")
            points.append((_amount(time), _number(weight)))
        _check_weights([weight for _, weight in points])
        return cls(tuple(points))

    @property
    def _arguments(self) -> str:
        return ",".join(f"{time}@{_plain(weight)}" for time, weight in self.points)

    @property
    def amounts(self) -> tuple[Amount, ...]:
        return tuple(time for time, _ in self.points)

    def resolved(self, full_ms: float) -> Discrete:
        return Discrete(tuple((time.resolved(full_ms), weight) for time, weight in self.points))

    @property
    def _points(self) -> tuple[Array, Array]:
        budgets = np.array([time.number for time, _ in self.points])
        weights = np.array([weight for _, weight in self.points])
        order = np.argsort(budgets, kind="stable")
        return budgets[order], weights[order]


def _check_weights(weights: Sequence[float]) -> None:
    if min(weights) <= 0:
        raise ValueError(f"every probability must be above 0, found {_plain(min(weights))}")
    if abs(math.fsum(weights) - 1) > 1e-6:
        raise ValueError(f"the probabilities must add up to 1, found {_plain(math.fsum(weights))}")


@dataclass(frozen=True)
class Trace(_Steps):
    """Budgets recorded in use, each as likely as the others."""

    name = "trace"
    form = "trace:FILE[:COLUMN]"
    meaning = "budgets recorded in a CSV file, in ms, one a row; COLUMN names the column when there are several"
    source: str
    budgets_ms: tuple[float, ...]

    @classmethod
    def _build(cls, arguments: str) -> Self:
        file, column = arguments, None
        if not Path(arguments).exists() and ":" in arguments:
            file, _, column = arguments.rpartition(":")
        return cls(arguments, _read_trace(Path(file), column))

    @property
    def _arguments(self) -> str:
        return self.source

    @property
    def amounts(self) -> tuple[Amount, ...]:
        return tuple(Amount(budget) for budget in self.budgets_ms)

    @property
    def is_relative(self) -> bool:
        return False

    def resolved(self, full_ms: float) -> Trace:
        return self

    @property
    def _points(self) -> tuple[Array, Array]:
        budgets = np.sort(np.array(self.budgets_ms))
        return budgets, np.full(len(budgets), 1.0 / len(budgets))


def _read_trace(path: Path, column: str | None) -> tuple[float, ...]:
    rows = [row for row in csv.reader(io.StringIO(read_text(path))) if any(cell.strip() for cell in row)]
    if not rows:
        raise FileError(path, "a trace holds one budget a row, found an empty file")
    header = [cell.strip() for cell in rows[0]]
    has_header = not _reads_as_number(header[0]) if column is None else True
    if column is not None:
        if column not in header:
            raise FileError(path, f"no column {column!r}; found: {', '.join(header)}")
        position = header.index(column)
    elif len(header) == 1:
        position = 0
    else:
        raise FileError(path, f"several columns; name one as trace:{path}:COLUMN out of {', '.join(header)}")
    budgets = []
    for line, row in enumerate(rows[1:] if has_header else rows, start=2 if has_header else 1):
        cell = row[position].strip() if position < len(row) else ""
        if not _reads_as_number(cell) or not 0 <= float(cell) < math.inf:
            raise FileError(path, f"row {line}: a budget is a number of milliseconds from 0, found {cell!r}")
        budgets.append(float(cell))
    if not budgets:
        raise FileError(path, "a trace holds one budget a row, found only a header")
    return tuple(budgets)


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
                raise ValueError(f"write {cls.form}; {text.strip()!r} has no weight and star")
            if inner.strip().startswith("mix:"):
                raise ValueError("a mix cannot hold another mix; write one flat mix")
            parts.append((_number(weight), parse_budget(inner)))
        _check_weights([weight for weight, _ in parts])
        return cls(tuple(parts))

    @property
    def _arguments(self) -> str:
        return "+".join(f"{_plain(weight)}*{part}" for weight, part in self.parts)

    @property
    def amounts(self) -> tuple[Amount, ...]:
        return tuple(amount for _, part in self.parts for amount in part.amounts)

    @property
    def is_relative(self) -> bool:
        return any(part.is_relative for _, part in self.parts)

    def resolved(self, full_ms: float) -> Mix:
        return Mix(tuple((weight, part.resolved(full_ms)) for weight, part in self.parts))

    def _survival(self, times_ms: Array) -> Array:
        total = np.zeros_like(times_ms)
        for weight, part in self.parts:
            total = total + weight * part._survival(times_ms)
        return total

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


FAMILIES: dict[str, type[BudgetDistribution]] = {
    family.name: family for family in (Uniform, Normal, LogNormal, Exponential, Point, Discrete, Trace, Mix)
}


def parse_budget(text: str) -> BudgetDistribution:
    """Read a budget distribution as written on the command line; `str()` of the result is the canonical text.

    Args:
        text: `uniform:10,80`, `normal:40,10`, `lognormal:30,0.5`, `exponential:40`, `point:33`,
            `discrete:10@0.2,40@0.8`, `trace:FILE[:COLUMN]` or `mix:0.7*uniform:10,40+0.3*point:60`. Numbers are
            milliseconds; with `%` they are shares of the full model's latency.

    Raises:
        InputError: when it cannot be read; the message gives the rule and what was found.
    """
    name, colon, arguments = text.strip().partition(":")
    family = FAMILIES.get(name.strip())
    if not colon or family is None:
        error = one_of("budget distribution", name.strip(), FAMILIES)
        raise InputError(f"{error}; write for example uniform:10,80")
    try:
        return family._build(arguments.strip())
    except ValueError as error:
        raise InputError(f"budget {text.strip()!r} cannot be read: {error}") from None
