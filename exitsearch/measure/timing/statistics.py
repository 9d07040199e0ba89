"""What a list of times says: median with its interval, percentiles, spread, drift. Nothing is assumed normal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

Times = Sequence[float] | NDArray[np.float64]

# Neighbours on each side that the machine's speed is taken over. A shared machine's speed jumps and stays for a second
# or more; nine passes follow that, and what one pass suffered alone does not move their median.
SPEED_REACH = 4

# Fewest samples for which the upper end of a one-sided 95% order-statistic interval of a percentile exists:
# 1 - p^n >= 0.95 gives n >= log(0.05) / log(p).
FEWEST_SAMPLES = {90: 29, 95: 59, 99: 299}


def median(samples_ms: Times) -> float:
    """The median; of an even number of samples the mean of the middle two.

    Args:
        samples_ms: at least one time.
    """
    return float(np.median(samples_ms))


@lru_cache(maxsize=4096)
def interval_rank(count: int) -> int | None:
    """Rank r of the 95% interval of a median: from the r-th smallest of `count` samples to the r-th largest.

    The number of samples below the true median is binomial with chance 1/2, so the interval misses it with chance
    2 P(X <= r - 1). The largest r for which that is at most 5% is returned, counted from 1; None below 6 samples,
    where even smallest to largest misses it more often.

    >>> interval_rank(5), interval_rank(6), interval_rank(10)
    (None, 1, 2)
    """
    # The smallest k with P(X <= k) >= 1/40 has P(X <= k - 1) < 1/40, so it is the rank. No chance is 1/40 exactly: it
    # is a whole number over a power of 2.
    rank = math.ceil(special.bdtrik(0.025, count, 0.5)) if count > 0 else 0
    # The inverse is good to its last few digits; the chances themselves decide.
    while rank > 0 and special.bdtr(rank - 1, count, 0.5) > 0.025:
        rank -= 1
    while count > 0 and special.bdtr(rank, count, 0.5) <= 0.025:
        rank += 1
    return rank or None


def median_interval(samples_ms: Times) -> tuple[float, float] | None:
    """Order-statistic 95% interval of the median, None below 6 samples."""
    rank = interval_rank(len(samples_ms))
    if rank is None:
        return None
    ordered = np.sort(samples_ms)
    return float(ordered[rank - 1]), float(ordered[-rank])


def half_width(samples_ms: Times) -> float:
    """Half the width of the median's 95% interval; infinite below 6 samples."""
    interval = median_interval(samples_ms)
    return float("inf") if interval is None else (interval[1] - interval[0]) / 2


def percentile(samples_ms: Sequence[float], percent: int) -> float | None:
    """The 90th, 95th or 99th percentile (the smallest sample that so many do not exceed).

    Returns:
        None below 29, 59 or 299 samples: of fewer, the largest sample says nothing sure about the tail.
    """
    if len(samples_ms) < FEWEST_SAMPLES[percent]:
        return None
    return float(np.percentile(samples_ms, percent, method="inverted_cdf"))


def machine_speeds(yardstick: Sequence[float]) -> NDArray[np.float64]:
    """How slow the machine was around each pass of the yardstick: the running median over the median of all.

    >>> machine_speeds([10, 10, 99, 10, 10, 10, 20, 20, 20, 20, 20, 20, 20]).round(2).tolist()[:3]
    [0.5, 0.5, 0.5]

    Args:
        yardstick: times of one and the same thing, in the order they were measured; or their ratios to something.
    """
    times = np.asarray(yardstick, dtype=np.float64)
    middle = np.median(times) if len(times) else 0.0
    if middle <= 0:
        return np.ones(len(times))
    padded = np.pad(times, SPEED_REACH, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * SPEED_REACH + 1)
    result: NDArray[np.float64] = np.nanmedian(windows, axis=1) / middle
    return result


def spread(samples_ms: Sequence[float]) -> float:
    """Interquartile range over median (no unit); 0 for a median of 0."""
    low, middle, high = np.percentile(samples_ms, [25, 50, 75])
    return float((high - low) / middle) if middle > 0 else 0.0


def drift(samples_ms: Sequence[float]) -> float:
    """Median of the later half over that of the earlier half, minus 1 (no unit); 0 below 4 samples.

    Args:
        samples_ms: in the order they were measured.
    """
    half = len(samples_ms) // 2
    if half < 2:
        return 0.0
    earlier = median(samples_ms[:half])
    return median(samples_ms[-half:]) / earlier - 1 if earlier > 0 else 0.0
