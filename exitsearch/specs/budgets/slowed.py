"""The chance to be in time on a machine whose speed varies: the mean of G(s t) over slow-down samples s, exactly.

    steps     G falls at finitely many budgets b, so the mean falls at the times b / s: a staircase.
    uniform   G is linear between two bounds, so the mean is piecewise linear, with corners at low / s and high / s.
    smooth    G(e^v) is analytic in a strip around the real axis; so is its mean over shifts of v by log s. Chebyshev
              interpolation in pieces of that logarithm is then good to less than float64 can tell.
    mix       the weighted sum of its parts.

None of them leaves a sample out, and a call takes about as long with thousands of samples as with one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Largest table of a staircase: 16 MB, sorted in a tenth of a second. Beyond it every call looks at all budgets or all
# samples, whichever are fewer.
_MOST_STEPS = 2**20
# Numbers held at once where a call looks at many budgets or samples: 16 MB.
_CHUNK = 2**21
# Times at which a staircase too large for a table is known beforehand, for `above`.
_CELLS = 4096

# Chebyshev nodes a piece, and the strip's half-width in half pieces. Interpolation of a function that stays within M on
# an ellipse of parameter rho is off by at most 4 M rho^-n / (rho - 1) with degree n (Trefethen, "Approximation Theory
# and Approximation Practice", theorem 8.2). A semi-minor axis of 7.5 half pieces means rho = 7.5 + sqrt(7.5^2 + 1) =
# 15.07: with degree 15 and M = 30 that is 2e-17, a tenth of what float64 can tell from 1.
_NODES, _HALF_PIECES = 16, 7.5
_ANGLES = (np.arange(_NODES) + 0.5) * np.pi / _NODES
_TO_COEFFICIENTS = np.cos(np.outer(np.arange(_NODES), _ANGLES)) * 2 / _NODES
_TO_COEFFICIENTS[0] /= 2


@dataclass(frozen=True)
class Factors:
    """Slow-down samples, equal ones taken together.

    Attributes:
        values: different samples above 0, ascending.
        shares: of all samples above 0 that are each of them; they add up to 1.
        still: share of all samples that are 0, under which every answer is in time.
    """

    values: Array
    shares: Array
    still: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Self:
        """From equally likely samples, at least one."""
        values, counts = np.unique(np.asarray(samples, dtype=np.float64), return_counts=True)
        assert len(values), "the mean over no slow-down sample is not defined"
        assert values[0] >= 0, "a slow-down cannot be below 0"
        assert np.isfinite(values[-1]), "a slow-down must be finite"
        above = values > 0
        total = int(counts[above].sum())
        return cls(values[above], counts[above] / max(1, total), 1.0 - total / len(samples))

    @cached_property
    def below(self) -> Array:
        """Share of the samples before each position [values + 1]: from 0 to 1."""
        return _sums(self.shares)


class Slowed(ABC):
    """Chance that an answer of median time t is in time, as a function of t.

    Args:
        factors: the slow-down samples.
    """

    def __init__(self, factors: Factors) -> None:
        self.factors = factors

    def __call__(self, times_ms: Array) -> Array:
        """The mean of G(s t) for every t in ms, any shape."""
        return self._completed(times_ms, self._mean)

    def above(self, times_ms: Array) -> Array:
        """Never less than the mean of G(s t), up to rounding, and quick at however many times."""
        return self._completed(times_ms, self._above)

    def _completed(self, times_ms: Array, mean: Callable[[Array], Array]) -> Array:
        flat = times_ms.ravel()
        result = np.ones(flat.shape)  # an answer at time 0 is in time
        late = np.flatnonzero(flat > 0)
        if len(late) and len(self.factors.values):
            with np.errstate(over="ignore"):  # the smallest samples make the largest times
                found = mean(flat[late])
            result[late] = np.clip(self.factors.still + (1.0 - self.factors.still) * found, 0.0, 1.0)
        return result.reshape(times_ms.shape)

    @abstractmethod
    def _mean(self, times_ms: Array) -> Array:
        """The mean over the samples above 0, at times above 0 [times]."""

    def _above(self, times_ms: Array) -> Array:
        return self._mean(times_ms)


class SlowedFormula(Slowed):
    """Of any distribution, sample by sample.

    Args:
        survival: G.
    """

    def __init__(self, survival: Callable[[Array], Array], factors: Factors) -> None:
        super().__init__(factors)
        self._survival = survival

    def _mean(self, times_ms: Array) -> Array:
        values, shares = self.factors.values, self.factors.shares
        return _in_chunks(times_ms, len(values), lambda part: shares @ self._survival(np.multiply.outer(values, part)))


class SlowedSteps(Slowed):
    """Of a distribution over finitely many budgets.

    Args:
        latest_ms: up to when an answer is within each budget, ascending.
        chances: of each budget; they add up to 1.
    """

    def __init__(self, latest_ms: Array, chances: Array, factors: Factors) -> None:
        super().__init__(factors)
        self._latest, self._chances = latest_ms, chances
        self._tail = _sums(chances[::-1])[::-1]  # from each budget on
        self._table: tuple[Array, Array] | None = None
        if 0 < len(latest_ms) * len(factors.values) <= _MOST_STEPS:
            with np.errstate(over="ignore"):
                falls = (latest_ms[:, None] / factors.values).ravel()
            order = np.argsort(falls)
            shares = (chances[:, None] * factors.shares).ravel()[order]
            self._table = falls[order], _sums(shares[::-1])[::-1]

    def _mean(self, times_ms: Array) -> Array:
        values, shares = self.factors.values, self.factors.shares
        if self._table is not None:
            falls, left = self._table
            return np.asarray(left[np.searchsorted(falls, times_ms, side="left")])
        if len(self._latest) <= len(values):

            def by_budgets(part: Array) -> Array:
                quick = np.searchsorted(values, self._latest[:, None] / part, side="right")
                return np.asarray(self._chances @ self.factors.below[quick])

            return _in_chunks(times_ms, len(self._latest), by_budgets)

        def by_samples(part: Array) -> Array:
            return np.asarray(shares @ self._tail[np.searchsorted(self._latest, np.multiply.outer(values, part))])

        return _in_chunks(times_ms, len(values), by_samples)

    def _above(self, times_ms: Array) -> Array:
        if self._table is not None:
            return self._mean(times_ms)
        edges, left = self._cells
        # The chance falls with time: no time has more than the last edge before it.
        return np.asarray(left[np.searchsorted(edges, times_ms, side="right")])

    @cached_property
    def _cells(self) -> tuple[Array, Array]:
        latest, values = self._latest[self._latest > 0], self.factors.values
        if not len(latest):
            return np.zeros(0), np.ones(1)
        limits = np.finfo(np.float64)
        start, end = np.clip([latest[0] / values[-1], latest[-1] / values[0]], limits.tiny, limits.max)
        edges: Array = np.geomspace(start, end, _CELLS)
        return edges, np.append(1.0, self._mean(edges))


class SlowedUniform(Slowed):
    """Of budgets equally likely between two bounds in ms, from 0 and one below the other."""

    def __init__(self, low_ms: float, high_ms: float, factors: Factors) -> None:
        super().__init__(factors)
        self._low, self._high = low_ms, high_ms
        # Sum of the samples before each position, each times its share.
        self._weighted = _sums(factors.shares * factors.values)

    def _mean(self, times_ms: Array) -> Array:
        values, below = self.factors.values, self.factors.below
        # Samples before `sure` leave every budget enough time, those from `none` on leave none enough.
        sure = np.searchsorted(values, self._low / times_ms, side="right")
        none = np.maximum(sure, np.searchsorted(values, self._high / times_ms, side="left"))
        between = self._high * (below[none] - below[sure]) - times_ms * (self._weighted[none] - self._weighted[sure])
        return np.asarray(below[sure] + between / (self._high - self._low))


@dataclass(frozen=True)
class Smoothness:
    """What is known of a distribution with an analytic density.

    Attributes:
        strip: half-width of a strip of v around the real axis in which |G(e^v)| stays within 30.
        unit_ms: a time of about the size of the budgets.
        first, last: logarithms of times in this unit; G is 1 before the first and 0 after the last, to less than
            float64 can tell.
    """

    strip: float
    unit_ms: float
    first: float
    last: float


class SlowedSmooth(Slowed):
    """Of a distribution with an analytic density. Pieces are made when a time first falls into them.

    Args:
        survival: G.
        smoothness: of it.
    """

    def __init__(self, survival: Callable[[Array], Array], smoothness: Smoothness, factors: Factors) -> None:
        super().__init__(factors)
        self._survival, self._smoothness = survival, smoothness
        self._width = 2 * smoothness.strip / _HALF_PIECES
        self._logs = np.log(factors.values)
        # Numbers of the pieces made so far, ascending, and their coefficients [pieces, nodes].
        self._made: tuple[NDArray[np.int64], Array] = np.zeros(0, dtype=np.int64), np.zeros((0, _NODES))

    def _mean(self, times_ms: Array) -> Array:
        limits = np.finfo(np.float64)
        places = np.log(np.clip(times_ms / self._smoothness.unit_ms, limits.tiny, limits.max)) / self._width
        pieces = np.floor(places).astype(np.int64)
        numbers, coefficients = self._pieces(pieces)
        rows = np.searchsorted(numbers, pieces)
        x = 2.0 * (places - pieces) - 1.0
        # Clenshaw's recurrence.
        one, two = np.zeros_like(x), np.zeros_like(x)
        for degree in range(_NODES - 1, 0, -1):
            one, two = coefficients[rows, degree] + 2.0 * x * one - two, one
        return np.asarray(coefficients[rows, 0] + x * one - two)

    def _pieces(self, wanted: NDArray[np.int64]) -> tuple[NDArray[np.int64], Array]:
        """Number and coefficients of all pieces made so far, those that are wanted among them."""
        numbers, coefficients = self._made
        new = np.setdiff1d(wanted, numbers)
        if len(new):
            numbers = np.concatenate([numbers, new])
            coefficients = np.concatenate([coefficients, [self._piece(int(number)) for number in new]])
            order = np.argsort(numbers)
            self._made = numbers, coefficients = numbers[order], coefficients[order]
        return numbers, coefficients

    def _piece(self, number: int) -> Array:
        """Coefficients of one piece; only samples under which G is neither 1 nor 0 there are asked."""
        factors, smooth, start = self.factors, self._smoothness, number * self._width
        in_time = int(np.searchsorted(self._logs, smooth.first - (start + self._width), side="right"))
        late = max(in_time, int(np.searchsorted(self._logs, smooth.last - start, side="left")))
        nodes = np.exp(start + self._width * (np.cos(_ANGLES) + 1.0) / 2.0) * smooth.unit_ms
        asked = self._survival(np.multiply.outer(nodes, factors.values[in_time:late])) @ factors.shares[in_time:late]
        return np.asarray(_TO_COEFFICIENTS @ (factors.below[in_time] + asked))


class SlowedMix(Slowed):
    """A weighted sum.

    Args:
        parts: weight and function of each.
    """

    def __init__(self, parts: Sequence[tuple[float, Slowed]], factors: Factors) -> None:
        super().__init__(factors)
        self._parts = parts

    def _mean(self, times_ms: Array) -> Array:
        return np.asarray(sum(weight * part._mean(times_ms) for weight, part in self._parts))

    def _above(self, times_ms: Array) -> Array:
        return np.asarray(sum(weight * part._above(times_ms) for weight, part in self._parts))


def _sums(numbers: Array) -> Array:
    """Sums of the numbers before each position [numbers + 1], added up in more digits than float64 has."""
    sums = np.zeros(len(numbers) + 1)
    sums[1:] = np.cumsum(numbers, dtype=np.longdouble)
    return sums


def _in_chunks(times_ms: Array, each: int, mean: Callable[[Array], Array]) -> Array:
    """A function of some times, called with few enough at once when each of them takes `each` numbers."""
    step = max(1, _CHUNK // each)
    return np.concatenate([mean(times_ms[start : start + step]) for start in range(0, len(times_ms), step)])
