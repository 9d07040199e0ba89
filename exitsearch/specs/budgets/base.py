"""What every budget distribution offers, and how its text is read."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exitsearch.errors import InputError, one_of
from exitsearch.specs.budgets.slowed import Factors, Slowed, SlowedFormula

Array = NDArray[np.float64]

# Every family by its name, entered as its class is defined.
FAMILIES: dict[str, type[BudgetDistribution]] = {}


@dataclass(frozen=True)
class Amount:
    """A time: milliseconds, or with `share` percent of the full model's latency (10 stands for `10%`).

    The number is kept as it is written, so that the text reads back to it.
    """

    number: float
    share: bool = False

    def __str__(self) -> str:
        return f"{plain(self.number)}%" if self.share else plain(self.number)

    def resolved(self, full_ms: float) -> Amount:
        """The same time in milliseconds, a share being one of `full_ms`."""
        return Amount(self.number * full_ms / 100) if self.share else self

    def scaled(self, factor: float) -> Amount:
        """So many times as long."""
        return Amount(self.number * factor, self.share)


def plain(number: float) -> str:
    """The shortest text that reads back to the same number, without a trailing `.0`.

    >>> plain(40.0), plain(0.1), plain(2.00000000000001), plain(1e20)
    ('40', '0.1', '2.00000000000001', '1e20')
    """
    # No plus sign in an exponent: in a mix it separates.
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number).replace("e+", "e")


class BudgetDistribution(ABC):
    """The distribution of the time allowed for one answer, in milliseconds per batch at the profile's batch size."""

    name: ClassVar[str]
    form: ClassVar[str]
    meaning: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" in cls.__dict__:  # a family, not a base of several
            FAMILIES[cls.name] = cls

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
    def _changed(self, change: Callable[[Amount], Amount]) -> BudgetDistribution:
        """The same distribution with every time replaced by `change` of it."""

    def resolved(self, full_ms: float) -> BudgetDistribution:
        """The same distribution with every share of `full_ms` turned into milliseconds."""
        return self._changed(lambda amount: amount.resolved(full_ms))

    def scaled(self, factor: float) -> BudgetDistribution:
        """The same distribution with every budget `factor` times as long, above 0: of a batch, from that of an input.

        >>> str(parse_budget("lognormal:30,0.5").scaled(8))
        'lognormal:240,0.5'
        """
        return self._changed(lambda amount: amount.scaled(factor))

    @abstractmethod
    def _survival(self, times_ms: Array) -> Array: ...

    def survival(self, times_ms: ArrayLike) -> Array:
        """G(t) = P(B >= t) for every t, the chance that an answer finished at t is still in time.

        Args:
            times_ms: times in milliseconds, any shape.

        Raises:
            InputError: when the distribution still holds shares (`10%`); call `resolved` first.
        """
        self._check_resolved()
        return self._survival(np.asarray(times_ms, dtype=np.float64))

    def slowed(self, samples: Sequence[float]) -> Slowed:
        """The mean of G(s t) over slow-down samples s, made ready for many times.

        Args:
            samples: equally likely factors on every time, at least one, each from 0.

        Raises:
            InputError: when the distribution still holds shares (`10%`); call `resolved` first.
        """
        self._check_resolved()
        return self._slowed(Factors.of(samples))

    def _slowed(self, factors: Factors) -> Slowed:
        return SlowedFormula(self._survival, factors)

    def _check_resolved(self) -> None:
        if self.is_relative:
            raise InputError(f"budget {self} holds shares of the full model's time; resolve it with a profile")

    @abstractmethod
    def quantile(self, q: float) -> float:
        """The budget that a share q of requests does not exceed, in ms; 0 <= q <= 1 (q = 1 may be infinite)."""

    def support(self) -> tuple[float, float]:
        """Smallest and largest possible budget in ms; the largest may be infinite."""
        return self.quantile(0.0), self.quantile(1.0)


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
    if family is None:
        raise one_of("budget distribution", name.strip(), FAMILIES)
    try:
        if not colon:
            raise ValueError("no numbers follow its name")
        return family._build(arguments.strip())
    except ValueError as error:
        raise InputError(f"budget {text.strip()!r} cannot be read: {error}; write {family.form}") from None


def read_amounts(arguments: str, count: int, form: str) -> list[Amount]:
    """So many times separated by commas; raises ValueError with the rule that is broken."""
    parts = arguments.split(",")
    if len(parts) != count:
        raise ValueError(f"{count} number{'s' if count != 1 else ''} needed, found {len(parts)}")
    return [read_amount(part) for part in parts]


def read_amount(text: str) -> Amount:
    """A time of at least 0, with or without `%`; raises ValueError with the rule that is broken."""
    text = text.strip()
    share = text.endswith("%")
    number = read_number(text.removesuffix("%"))
    if number < 0:
        raise ValueError(f"a time is at least 0, found {text}")
    return Amount(number, share)


def read_number(text: str) -> float:
    """A finite number; raises ValueError with the rule that is broken."""
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text.strip()!r} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"a finite number is needed, found {text.strip()}")
    return number


def check_weights(weights: Sequence[float]) -> None:
    """Raise ValueError unless the weights are above 0 and add up to 1."""
    if min(weights) <= 0:
        raise ValueError(f"every probability must be above 0, found {plain(min(weights))}")
    if abs(math.fsum(weights) - 1) > 1e-6:
        raise ValueError(f"the probabilities must add up to 1, found {plain(math.fsum(weights))}")
