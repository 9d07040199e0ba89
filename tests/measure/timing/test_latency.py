from __future__ import annotations

from collections import Counter

import pytest
from fake_units import FakeRuntime, jumps

from exitsearch.measure.machine.load import Load
from exitsearch.measure.timing import statistics
from exitsearch.measure.timing.latency import measure_rounds, unsettled_units
from exitsearch.measure.verdict import DRIFT, WIDE, judge

HEADS = {(0, "a"): 0.5, (0, "b"): 1.5, (0, "c"): 2.5, (2, "a"): 0.75}
QUIET = Load(10.0, 1.0, 0.0, 0.0, 0.0, 0.0, cores=2)


def measure(runtime, **options):
    return measure_rounds(runtime, ["x", "y"], runtime.clock, **{"max_seconds": 2.0, **options})


def test_recovers_constant_costs_exactly():
    """Every head's time holds its decision of 0.25 ms; placement 1 has no heads and takes no time for one."""
    samples = measure(FakeRuntime(heads=HEADS))
    assert [set(unit.host_ms) for unit in samples.segments] == [{2.0}, {3.0}, {4.0}]
    assert {key: set(unit.host_ms) for key, unit in samples.heads.items()} == {
        key: {ms + 0.25} for key, ms in HEADS.items()
    }
    assert set(samples.final.host_ms) == {1.0}
    assert set(samples.whole.host_ms) == {10.0}
    assert set(samples.slowdown) == {1.0}
    assert samples.unsettled == {}
    assert judge(samples, QUIET, threads=1).status == "ok"


def test_stops_once_every_unit_is_settled():
    """Six samples give the first interval; whether all have it is asked after full deals of three."""
    samples = measure(FakeRuntime(heads=HEADS), max_seconds=1e6)
    assert samples.unsettled == {}
    assert min(len(unit.host_ms) for _, unit in samples.units()) >= 6
    assert samples.rounds % 3 == 0
    fewer = measure(FakeRuntime(heads=HEADS), max_seconds=0.001)
    assert fewer.rounds < samples.rounds
    assert min(len(unit.host_ms) for _, unit in fewer.units()) < 6


def test_every_head_of_a_placement_is_measured_equally_often():
    samples = measure(FakeRuntime(heads=HEADS), max_seconds=0.001)
    counts = {key: len(unit.host_ms) for key, unit in samples.heads.items()}
    here = [count for (placement, _), count in counts.items() if placement == 0]
    assert min(counts.values()) >= 3  # however little time is given
    assert max(here) - min(here) <= 1
    # Some passes have a head at a placement, and some do not.
    assert sum(here) < samples.rounds
    assert len(samples.whole.host_ms) == len(samples.segments[0].host_ms) == samples.rounds
    for placement in (1, 2):
        behind = samples.resumed[placement].host_ms if placement in samples.resumed else []
        assert len(samples.segments[placement].host_ms) + len(behind) == samples.rounds
    assert len(samples.resumed[1].host_ms) == sum(here)


def test_heads_run_right_after_their_segment():
    runtime = FakeRuntime(heads=HEADS)
    measure(runtime)
    for before, entry in zip(runtime.log[:-1], runtime.log[1:], strict=True):
        if entry[0] == "head":
            assert before[:2] == ("segment", entry[1])
            assert entry[-1] == f"features {entry[1]}"
        if entry[0] == "segment":
            assert entry[-1] in ("x", "y") if entry[1] == 0 else entry[-1] == entry[1] - 1


def test_both_orders_of_the_passes_occur():
    runtime = FakeRuntime(heads=HEADS)
    measure(runtime, max_seconds=1e6)
    passes = ["whole" if entry[0] == "whole" else "chain" for entry in runtime.log if entry[0] in ("whole", "final")]
    orders = Counter(zip(passes[::2], passes[1::2], strict=True))
    assert set(orders) == {("whole", "chain"), ("chain", "whole")}


def test_order_is_the_seeds_and_not_the_warm_ups():
    """A slower machine warms up in fewer rounds; the measured rounds are the same ones."""

    def log(seed, factor):
        runtime = FakeRuntime(heads=HEADS, slow=lambda seconds: factor)
        samples = measure(runtime, seed=seed, max_seconds=1e6)
        entries = sum(len(unit.host_ms) for _, unit in samples.units())
        return runtime.log[-entries:], len(runtime.log)

    fast, fast_length = log(0, 1.0)
    slow, slow_length = log(0, 3.0)
    assert fast == slow
    assert fast_length > slow_length
    assert fast != log(1, 1.0)[0]


def test_warm_up_waits_for_a_flat_median():
    """The first 0.5 s are slower and slower to end: no sample of them is kept."""
    runtime = FakeRuntime(heads=HEADS, slow=lambda seconds: max(1.0, 3.0 - 4 * seconds))
    samples = measure(runtime)
    assert samples.warm_up_s >= 0.5
    assert set(samples.whole.host_ms) == {10.0}


def test_a_slow_period_is_drift():
    """Everything takes 30% longer in the second half of the run (with a jitter of 0.1%, so that no unit settles)."""
    runtime = FakeRuntime(heads=HEADS, slow=lambda seconds: (1.0 if seconds < 2.2 else 1.3) + seconds * 618 % 1 / 1e3)
    samples = measure(runtime, max_seconds=4.0, precision=1e-9)
    verdict = judge(samples, QUIET, threads=1)
    assert verdict.status == "invalid"
    assert DRIFT.what in [reason.what for reason in verdict.reasons]
    assert max(samples.slowdown) / min(samples.slowdown) == pytest.approx(1.3, rel=2e-3)


def test_a_gentle_drift_is_noisy():
    """The machine slows by 2% a second over some 4 s; halves differ by about 4%."""
    runtime = FakeRuntime(heads=HEADS, slow=lambda seconds: 1 + 0.02 * seconds)
    samples = measure(runtime, max_seconds=4.0, precision=1e-9)
    verdict = judge(samples, QUIET, threads=1)
    assert verdict.status == "noisy"
    assert {DRIFT.what, WIDE.what} <= {reason.what for reason in verdict.reasons}
    assert 0.03 < statistics.drift(samples.whole.host_ms) < 0.05


def test_a_machine_that_jumps_moves_no_ratio():
    """Everything takes 30% longer for five seconds of every seven: ratios to the whole pass stay what they are.

    Segments of 2, 3 and 4 ms in a whole of 10 ms, head a of 0.5 ms with its decision of 0.25 ms.
    """
    runtime = FakeRuntime(heads=HEADS, slow=jumps)
    samples = measure(runtime, max_seconds=30.0, precision=1e-9)
    found = {name: statistics.median(times) for name, _, times in samples.at_median_speed()}
    assert found["whole"] == pytest.approx(13.0, rel=2e-3)
    assert found["segment 1"] / found["whole"] == pytest.approx(0.3, rel=2e-3)
    assert found["head a at placement 0"] / found["whole"] == pytest.approx(0.075, rel=2e-3)
    assert samples.parts_ms == pytest.approx(13.0, rel=2e-3)
    # Hardly any sample but those in the rounds of a jump is off: the intervals are narrow although the times are not.
    assert statistics.spread(samples.segments[0].host_ms) == pytest.approx(0.3 / 1.3, rel=2e-3)
    assert unsettled_units(samples, 0.002).keys() <= {"whole"}


def test_small_units_are_held_to_an_equal_share_of_the_whole():
    """Whole 10 ms; three segments, final and one head make five units, 2 ms each; 2% of that are 0.04 ms."""
    runtime = FakeRuntime(heads={(0, "a"): 0.0})
    samples = measure(runtime)
    unit = samples.heads[0, "a"]
    unit.rounds[:] = range(6)
    unit.host_ms[:] = [0.07, 0.07, 0.1, 0.1, 0.13, 0.13]
    assert unsettled_units(samples, 0.02) == {}
    unit.host_ms[:] = [0.04, 0.04, 0.1, 0.1, 0.16, 0.16]
    assert unsettled_units(samples, 0.02) == {"head a at placement 0": pytest.approx(1.5)}


def test_progress_never_goes_back():
    seen = []
    measure(FakeRuntime(heads=HEADS), progress=lambda done, text: seen.append(done))
    assert seen == sorted(seen)
    assert seen[0] == 0.0
    assert seen[-1] == 1.0
