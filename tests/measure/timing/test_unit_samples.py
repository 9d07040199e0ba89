"""What is taken out of the samples, by hand."""

from __future__ import annotations

import pytest

from exitsearch.measure.timing import statistics
from exitsearch.measure.timing.samples import Samples, UnitSamples


def unit(*times, first=0):
    return UnitSamples(list(times), rounds=list(range(first, first + len(times))))


@pytest.fixture
def samples():
    """Two segments of 2 and 3 ms that hold a mark of 0.25 ms, a final part, and a head at placement 0.

    Segment 1 after a head takes 3.5 ms, mark included, where a mark takes 0.125; the final part after a head is faster
    than ever, by chance. The head takes 1.0 ms, and 1.2 behind an empty part.
    """
    return Samples(
        [unit(2.25, 2.25, 2.25), unit(3.25, 3.25, 3.25)],
        {(0, "a"): unit(1.0, 1.0, 1.0)},
        final=unit(0.5, 0.5, 0.5),
        whole=unit(5.5, 5.5, 5.5),
        resumed={1: unit(3.5, 3.5, 3.5), 2: unit(0.4, 0.4, 0.4)},
        empty={(0, False): unit(0.25), (1, False): unit(0.2, 0.25, 0.9), (1, True): unit(0.125)},
        delayed={(0, "a"): unit(1.2)},
    )


def test_the_clock_is_taken_out_of_what_it_timed(samples):
    found = {name: statistics.median(times) for name, _, times in samples.at_median_speed()}
    assert found == pytest.approx(
        {
            "segment 0": 2.0,
            "segment 1": 3.0,
            "head a at placement 0": 0.8,
            "segment 1 after a head": 3.375,
            "final after a head": 0.4,
            "final": 0.5,
            "whole": 5.5,
        }
    )
    assert samples.parts_ms == pytest.approx(5.5)


def test_a_resume_is_the_difference_and_never_below_nothing(samples):
    assert samples.resume_ms == pytest.approx([0.0, 0.375, 0.0])


def test_what_an_empty_part_delays_is_the_clocks_cost_too(samples):
    """Segment 1 takes 0.1 longer behind an empty part, beside the 0.25 of its own mark; the final part 0.05."""
    samples.delayed |= {1: unit(3.35), 2: unit(0.5, 0.55, 0.6)}
    found = {name: statistics.median(times) for name, _, times in samples.at_median_speed()}
    assert found["segment 1"] == pytest.approx(2.9)
    assert found["final"] == pytest.approx(0.45)
    assert found["head a at placement 0"] == pytest.approx(0.8)
    assert samples.parts_ms == pytest.approx(5.35)


def test_an_empty_part_that_delays_nothing_makes_no_head_slower(samples):
    samples.delayed[0, "a"] = unit(0.9)
    found = {name: statistics.median(times) for name, _, times in samples.at_median_speed()}
    assert found["head a at placement 0"] == 1.0


def test_what_stands_behind_a_placement_with_heads_has_times_of_its_own():
    samples = Samples.start(2, [(0, "a")])
    assert list(samples.resumed) == [1]
    assert [name for name, _ in samples.units()] == [
        "segment 0",
        "segment 1",
        "head a at placement 0",
        "segment 1 after a head",
        "final",
        "whole",
    ]


def test_levels_are_taken_out():
    """The second half of the run is twice as slow: levels 2/3 and 4/3 of the median of 15 over eighteen rounds."""
    samples = Samples(
        [unit(*[2.0] * 9, *[4.0] * 9)],
        {},
        final=unit(*[8.0] * 9, *[16.0] * 9),
        whole=unit(*[10.0] * 9, *[20.0] * 9),
    )
    at_median_speed = {name: times for name, _, times in samples.at_median_speed()}
    assert at_median_speed["segment 0"].tolist() == pytest.approx([3.0] * 18)
    assert samples.parts_ms == pytest.approx(15.0)
    assert set(samples.slowdown) == {10 / 15, 20 / 15}
