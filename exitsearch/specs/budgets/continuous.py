"""Budget distributions with a density: uniform, normal, lognormal, exponential."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from exitsearch.errors import InputError
from exitsearch.specs.budgets.base import (
    Amount,
    Array,
    BudgetDistribution,
    plain,
    read_amount,
    read_amounts,
    read_number,
)
from exitsearch.specs.budgets.deadline import TIME_TOLERANCE, latest_in_time
from exitsearch.specs.budgets.slowed import Factors, Slowed, SlowedFormula, SlowedSmooth, SlowedUniform, Smoothness
from exitsearch.specs.budgets.steps import Point

# Standard deviations after which nothing is left of a normal distribution that float64 could tell from 0: 1e-19.
_FAR = 9.0
# In a strip of three standard deviations around the real axis the normal distribution function stays within 15:
# |Phi(x + iy)| <= Phi(x) + phi(x) times the integral of e^(u^2 / 2) over u from 0 to |y|.
_STRIP = 3.0


class _Smooth(BudgetDistribution):
    """What the distributions with an analytic density share."""

    @property
    @abstractmethod
    def _smoothness(self) -> Smoothness: ...

    def _slowed(self, factors: Factors) -> Slowed:
        smoothness = self._smoothness
        # Narrower than times can be told apart, pieces would be no wider than a logarithm's last digits.
        if smoothness.strip < TIME_TOLERANCE:
            return SlowedFormula(self._survival, factors)
        return SlowedSmooth(self._survival, smoothness, factors)


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
        low, high = read_amounts(arguments, 2, cls.form)
        if low.share == high.share and not low.number < high.number:
            raise ValueError(f"LO must be below HI, found {low} and {high}")
        return cls(low, high)

    @property
    def _arguments(self) -> str:
        return f"{self.low},{self.high}"

    @property
    def amounts(self) -> tuple[Amount, ...]:
        return (self.low, self.high)

    def _changed(self, change: Callable[[Amount], Amount]) -> Uniform:
        low, high = change(self.low), change(self.high)
        if low.share == high.share and not low.number < high.number:
            raise InputError(
                f"budget {self}: LO must be below HI, found {low} and {high} ms; give bounds in that order"
            )
        return Uniform(low, high)

    def _survival(self, times_ms: Array) -> Array:
        if self._is_one_budget:
            return Point(self.high)._survival(times_ms)
        low, high = self.low.number, self.high.number
        result: Array = np.clip((high - times_ms) / (high - low), 0.0, 1.0)
        return result

    def _slowed(self, factors: Factors) -> Slowed:
        if self._is_one_budget:
            return Point(self.high)._slowed(factors)
        return SlowedUniform(self.low.number, self.high.number, factors)

    @property
    def _is_one_budget(self) -> bool:
        """Whether the bounds are equal as times are."""
        return self.high.number <= latest_in_time(self.low.number)

    def quantile(self, q: float) -> float:
        return self.low.number + q * (self.high.number - self.low.number)


@dataclass(frozen=True)
class Normal(_Smooth):
    """A normal distribution truncated at 0."""

    name = "normal"
    form = "normal:MEAN,STD"
    meaning = "normal around MEAN with standard deviation STD, truncated at 0"
    mean: Amount
    std: Amount

    @classmethod
    def _build(cls, arguments: str) -> Self:
        mean, std = read_amounts(arguments, 2, cls.form)
        if std.number <= 0:
            raise ValueError(f"STD must be above 0, found {std}")
        return cls(mean, std)

    @property
    def _arguments(self) -> str:
        return f"{self.mean},{self.std}"

    @property
    def amounts(self) -> tuple[Amount, ...]:
        return (self.mean, self.std)

    def _changed(self, change: Callable[[Amount], Amount]) -> Normal:
        return Normal(change(self.mean), change(self.std))

    def _survival(self, times_ms: Array) -> Array:
        from scipy.special import ndtr

        mean, std = self.mean.number, self.std.number
        result: Array = np.where(times_ms <= 0, 1.0, ndtr((mean - times_ms) / std) / ndtr(mean / std))
        return result

    @property
    def _smoothness(self) -> Smoothness:
        mean, std = self.mean.number, self.std.number
        # Up to the far end an angle turns a time by at most _STRIP standard deviations; beyond it G falls off faster
        # than the imaginary part grows. Truncation at 0 at most doubles G.
        end, first = mean + _FAR * std, mean - _FAR * std
        return Smoothness(_STRIP * std / (end + std), end, math.log(first / end) if first > 0 else -math.inf, 0.0)

    def quantile(self, q: float) -> float:
        from scipy.special import ndtr, ndtri

        mean, std = self.mean.number, self.std.number
        # From the upper tail, so that far quantiles keep their digits.
        return max(0.0, float(mean - std * ndtri((1.0 - q) * ndtr(mean / std))))


@dataclass(frozen=True)
class LogNormal(_Smooth):
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
            raise ValueError(f"2 numbers needed, found {len(parts)}")
        median, sigma = read_amount(parts[0]), read_number(parts[1])
        if median.number <= 0 or sigma <= 0:
            raise ValueError(f"MEDIAN and SIGMA must be above 0, found {median} and {plain(sigma)}")
        return cls(median, sigma)

    @property
    def _arguments(self) -> str:
        return f"{self.median},{plain(self.sigma)}"

    @property
    def amounts(self) -> tuple[Amount, ...]:
        return (self.median,)

    def _changed(self, change: Callable[[Amount], Amount]) -> LogNormal:
        return LogNormal(change(self.median), self.sigma)

    def _survival(self, times_ms: Array) -> Array:
        from scipy.special import ndtr

        positive = np.maximum(times_ms, np.finfo(float).tiny)
        result: Array = np.where(
            times_ms <= 0, 1.0, ndtr((math.log(self.median.number) - np.log(positive)) / self.sigma)
        )
        return result

    @property
    def _smoothness(self) -> Smoothness:
        far = _FAR * self.sigma
        return Smoothness(_STRIP * self.sigma, self.median.number, -far, far)

    def quantile(self, q: float) -> float:
        from scipy.special import ndtri

        return float(self.median.number * np.exp(self.sigma * ndtri(q)))


@dataclass(frozen=True)
class Exponential(_Smooth):
    """An exponential distribution."""

    name = "exponential"
    form = "exponential:MEAN"
    meaning = "exponential: the time until an interruption that may strike at any moment, MEAN on average"
    mean: Amount

    @classmethod
    def _build(cls, arguments: str) -> Self:
        (mean,) = read_amounts(arguments, 1, cls.form)
        if mean.number <= 0:
            raise ValueError(f"MEAN must be above 0, found {mean}")
        return cls(mean)

    @property
    def _arguments(self) -> str:
        return str(self.mean)

    @property
    def amounts(self) -> tuple[Amount, ...]:
        return (self.mean,)

    def _changed(self, change: Callable[[Amount], Amount]) -> Exponential:
        return Exponential(change(self.mean))

    def _survival(self, times_ms: Array) -> Array:
        result: Array = np.exp(-np.maximum(times_ms, 0.0) / self.mean.number)
        return result

    @property
    def _smoothness(self) -> Smoothness:
        # Up to an angle of pi / 2 the real part of a time stays above 0, so |G| stays within 1.
        return Smoothness(1.5, self.mean.number, math.log(1e-18), math.log(45.0))

    def quantile(self, q: float) -> float:
        return math.inf if q >= 1 else -self.mean.number * math.log1p(-q)
