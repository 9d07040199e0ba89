from __future__ import annotations

import random
from itertools import pairwise

import pytest

from exitsearch.measure.timing import statistics


def test_interval_by_hand():
    """Ten samples: P(X <= 1) = (1 + 10) / 1024, twice that is 2.1%; with P(X <= 2) = 56 / 1024 it would be 10.9%.

    So the interval runs from the 2nd smallest to the 2nd largest.
    """
    samples = [5.0, 1.0, 9.0, 2.0, 8.0, 3.0, 7.0, 4.0, 6.0, 100.0]
    assert statistics.median_interval(samples) == (2.0, 9.0)
    assert statistics.half_width(samples) == 3.5


def ranks_by_definition(most):
    """The largest r with 2 P(X <= r - 1) <= 5% in whole numbers, for 0 to `most` samples, from Pascal's triangle."""
    row = [1]
    for count in range(most + 1):
        below, rank = 0, 0
        while 40 * (below + row[rank]) <= 2**count:
            below += row[rank]
            rank += 1
        yield rank or None
        row = [1, *(a + b for a, b in pairwise(row)), 1]


def test_ranks_are_exact():
    assert [statistics.interval_rank(count) for count in range(801)] == list(ranks_by_definition(800))


@pytest.mark.parametrize("count", [4000, 16001])
def test_ranks_of_many_samples_are_exact(count):
    """The rank is the largest: one more would miss the median more often than in 5% of runs."""
    rank, term, below = statistics.interval_rank(count), 1, 0
    for number in range(rank):
        below += term
        term = term * (count - number) // (number + 1)
    assert 40 * below <= 2**count < 40 * (below + term)


def test_ranks_of_very_many_samples():
    """Whole numbers took half a minute at 16,000, so this would never end. The normal approximation:
    n / 2 - 0.98 sqrt(n)."""
    for count in (10**5, 10**6, 10**7):
        assert statistics.interval_rank(count) == pytest.approx(count / 2 - 0.98 * count**0.5, abs=count**0.5 / 100)


def test_too_few_samples_have_no_interval():
    """Smallest to largest of 5 misses the median with chance 2 / 32 = 6.25%, of 6 with 2 / 64 = 3.1%."""
    assert statistics.median_interval([1.0] * 5) is None
    assert statistics.half_width([1.0] * 5) == float("inf")
    assert statistics.median_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == (1.0, 6.0)


@pytest.mark.parametrize("count", [7, 20, 101])
def test_interval_covers_the_median(count):
    """Of 2000 seeded draws from a skewed distribution at least 94% cover its true median."""
    draw = random.Random(count)
    true_median = 2**0.5  # of 2 ** U, U uniform in 0..1
    hits = 0
    for _ in range(2000):
        low, high = statistics.median_interval([2 ** draw.random() for _ in range(count)])
        hits += low <= true_median <= high
    assert hits >= 0.94 * 2000


@pytest.mark.parametrize(("percent", "fewest"), [(90, 29), (95, 59), (99, 299)])
def test_percentiles_need_enough_samples(percent, fewest):
    """The smallest n with 1 - p^n >= 95%: the largest of n samples then lies beyond the percentile in 95% of runs."""
    share = percent / 100
    assert 1 - share**fewest >= 0.95 > 1 - share ** (fewest - 1)
    assert statistics.percentile([1.0] * (fewest - 1), percent) is None
    assert statistics.percentile([1.0] * fewest, percent) == 1.0


def test_percentile_is_a_sample():
    assert statistics.percentile([float(n) for n in range(1, 101)], 90) == 90.0


def test_spread_by_hand():
    """1..5: quartiles 2 and 4, median 3."""
    assert statistics.spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 3)
    assert statistics.spread([0.0, 0.0]) == 0.0


def test_drift_by_hand():
    """Medians of the halves 10 and 12; the middle one of seven belongs to neither."""
    assert statistics.drift([10.0, 10.0, 10.0, 99.0, 12.0, 12.0, 12.0]) == pytest.approx(0.2)
    assert statistics.drift([1.0, 2.0, 3.0]) == 0.0


def test_levels_by_hand():
    """Nine passes of 10, one of 50 among them, then nine of 20. The median of all nineteen is 20."""
    times = [10.0] * 4 + [50.0] + [10.0] * 5 + [20.0] * 9
    found = statistics.machine_speeds(times)
    # Around pass 9 stand four of 10 and itself, and four of 20; around pass 10, four of 10 and five of 20.
    assert found.tolist() == [0.5] * 10 + [1.0] * 9
    assert statistics.machine_speeds([7.0]).tolist() == [1.0]
    assert statistics.machine_speeds([]).tolist() == []
    assert statistics.machine_speeds([0.0, 0.0]).tolist() == [1.0, 1.0]
