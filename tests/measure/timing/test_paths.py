from __future__ import annotations

import pytest
from fake_units import FakeRuntime, jumps

from exitsearch.measure.timing.paths import time_paths

HEADS = {(0, "a"): 0.5, (2, "b"): 1.5}


def test_answers_by_hand():
    """Segments 2, 3, 4 ms, final 1 ms, decision 0.25 ms.

    Head a answers at 2 + 0.75 = 2.75; head b at 2.75 + 3 + 4 + 1.75 = 11.5; the final exit at 12.5. With b alone:
    9 + 1.75 = 10.75 and 11.75. Without heads the path is the plain backbone, 10.
    """
    runtime = FakeRuntime(heads=HEADS)
    paths = [[(0, "a"), (2, "b")], [(2, "b")], []]
    timed, whole = time_paths(runtime, paths, ["x"], runtime.clock, max_seconds=1.0)
    assert [times.answers_ms for times in timed] == [[2.75, 11.5, 12.5], [10.75, 11.75], [10.0]]
    assert timed[0].exits == ((0, "a"), (2, "b"))
    assert timed[0].intervals_ms[0] == (2.75, 2.75)
    assert set(whole) == {10.0}
    assert len(whole) == 10


def test_paths_warm_up_by_the_rule_of_the_protocol():
    """The first 0.5 s are slower and slower to end: no pass of them is kept, however few rounds that takes."""
    runtime = FakeRuntime(heads=HEADS, slow=lambda seconds: max(1.0, 3.0 - 4 * seconds))
    timed, whole = time_paths(runtime, [[(0, "a")]], ["x"], runtime.clock, max_seconds=1.0)
    assert set(whole) == {10.0}
    assert set(timed[0].samples_ms[-1]) == {10.75}


def test_the_plain_backbone_alone_warms_up_too():
    """What the guard times: no path at all. A device after a pause is slow for its first 0.15 s."""
    runtime = FakeRuntime(slow=lambda seconds: 2.0 if seconds < 0.15 else 1.0)
    _, whole = time_paths(runtime, [], ["x"], runtime.clock, max_seconds=0.2)
    assert set(whole) == {10.0}


def test_a_machine_that_jumps_moves_no_ratio():
    """As in the profile: 30% slower for five seconds of every seven. Head b answers at 10.75, the whole at 10."""
    runtime = FakeRuntime(heads=HEADS, slow=jumps)
    paths = [[(2, "b")], [], [(0, "a")], [(0, "a"), (2, "b")], [], []]
    timed, whole = time_paths(runtime, paths, ["x"], runtime.clock, max_seconds=30.0, precision=1e-9)
    assert len(whole) == 2 * len(timed[0].samples_ms[0])  # one for the first four paths of a round, one for the others
    assert max(whole) / min(whole) == pytest.approx(1.3, rel=2e-3)
    assert timed[0].answers_ms == pytest.approx([13 * 1.075, 13 * 1.175], rel=2e-3)
    assert timed[5].answers_ms == pytest.approx([13.0], rel=2e-3)


def test_rounds_go_on_until_time_is_spent_when_times_scatter():
    """A factor between 1 and 1.5 never settles to 0.01%; a round takes about 40 ms, so 2 s hold more than ten."""
    runtime = FakeRuntime(heads=HEADS, slow=lambda seconds: 1 + (seconds * 7 % 1) / 2)
    _, whole = time_paths(runtime, [[(0, "a")]], ["x"], runtime.clock, max_seconds=2.0, precision=1e-4)
    assert len(whole) > 10
    assert sum(whole) < 2000.0
    assert max(whole) / min(whole) > 1.2


def test_order_follows_the_seed():
    def log(seed):
        runtime = FakeRuntime(heads=HEADS)
        time_paths(runtime, [[(0, "a")], [(2, "b")]], ["x", "y"], runtime.clock, max_seconds=1.0, seed=seed)
        return runtime.log

    assert log(3) == log(3)
    assert log(3) != log(4)


def test_models_beside_are_timed_in_the_same_rounds():
    """Another model of 2 + 1 ms on the same clock; both are 30% slower together, which moves no ratio."""
    runtime = FakeRuntime(heads=HEADS, slow=jumps)
    other = FakeRuntime(segments=1)
    other.spend = runtime.spend
    timed, whole = time_paths(
        runtime,
        [[(0, "a")]],
        ["x"],
        runtime.clock,
        max_seconds=20.0,
        precision=1e-9,
        beside=[(other, ["y"])],
    )
    assert [len(times.samples_ms[0]) for times in timed] == [len(whole)] * 2
    assert timed[1].exits == ()
    assert timed[1].answers_ms[0] / timed[0].answers_ms[1] == pytest.approx(3.0 / 10.75, rel=2e-3)
