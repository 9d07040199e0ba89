"""Times of a bundle's parts while it answers, by a clock that the parts move."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from exitsearch.deploy.answering import Pass, Requests, TimedUnits, measure_answers, timed_of
from exitsearch.measure.machine.load import Load
from exitsearch.runtime.bundle.manifest import Latency

X = np.zeros((1, 1, 1, 1), dtype=np.float32)
QUIET = Load(
    wall_s=1.0, cpu_share=1.0, queued_share=0.0, switches_per_s=0.0, others_cores=0.0, stolen_share=0.0, cores=2
)


class Clock:
    now = 50.0

    def __call__(self):
        return self.now


class Units:
    """Segments of 1, 2 and 4 ms, heads of 0.5 and 0.25 ms; looking at the final outputs takes 0.125 ms."""

    def __init__(self, clock):
        self.clock, self.ran = clock, []

    def begin(self, x):
        return {}

    def segment(self, position, state, stop):
        self.ran.append(f"segment {position}")
        self.clock.now += (1e-3, 2e-3, 4e-3)[position]
        return state

    def head(self, position, state, stop):
        self.ran.append(f"head {position}")
        self.clock.now += (0.5e-3, 0.25e-3, 0.125e-3)[position]
        return np.zeros((1, 3), dtype=np.float32)

    def new_stop(self):
        return SimpleNamespace(terminate=False)


def manifest():
    ones = dict.fromkeys((0.5, 0.9, 0.99), (1.0,) * 3)
    heads = dict.fromkeys((0.5, 0.9, 0.99), (1.0,) * 2)
    latency = Latency(batch_size=1, threads=1, segments=ones, heads=heads, slow_down=())
    return SimpleNamespace(latency=latency, values=(0.5, 0.6, 0.7), heads=(None, None), input_name="x")


@pytest.mark.parametrize("policy", ["interruptible", "confidence"])
def test_every_head_on_the_way_is_a_part(policy):
    clock = Clock()
    units = Units(clock)
    one = Requests(units, manifest(), policy, clock).ask(X, to=2)
    assert units.ran == ["segment 0", "head 0", "segment 1", "head 1", "segment 2", "head 2"]
    assert one.segments == pytest.approx([1.0, 2.0, 4.125])
    assert one.heads == pytest.approx({0: 0.5, 1: 0.25})
    assert one.start_ms == 0.0
    assert one.answers_ms() == pytest.approx({0: 1.5, 1: 3.75, 2: 7.875})


@pytest.mark.parametrize(("to", "ran"), [(0, ["segment 0", "head 0"]), (1, ["segment 0", "segment 1", "head 1"])])
def test_under_contract_one_head_is_run(to, ran):
    clock = Clock()
    units = Units(clock)
    one = Requests(units, manifest(), "contract", clock).ask(X, to=to)
    assert units.ran == ran
    assert list(one.answers_ms()) == [to]
    assert one.total_ms == pytest.approx(one.answers_ms()[to])


def test_a_fault_in_the_thread_is_raised_where_it_is_waited_for():
    clock = Clock()
    units = Units(clock)
    units.segment = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        Requests(units, manifest(), "interruptible", clock).ask(X, to=2)


def passes(*, slower=(1.0,), count=400):
    """Requests whose parts take 1, 2 and 4 ms and 0.5 and 0.25, times a factor that goes round."""
    return [
        Pass(2, 0.1 * f, [1.0 * f, 2.0 * f, 4.0 * f], {0: 0.5 * f, 1: 0.25 * f})
        for f in (slower[number % len(slower)] for number in range(count))
    ]


def test_the_table_is_made_of_the_parts():
    timed = timed_of(passes(), manifest(), policy="interruptible", batch_size=1, threads=1, load=QUIET)
    assert [part.median for part in timed.latency.segments] == [1.0, 2.0, 4.0]
    assert [part.median for part in timed.latency.heads] == [0.5, 0.25]
    assert timed.latency.start.median == 0.1
    assert timed.latency.answers_ms() == pytest.approx([1.6, 3.85, 7.85])
    assert timed.facts["predicted_over_measured"] == [1.0, 1.0, 1.0]
    assert timed.facts["fewest_samples"] == 300  # every fourth is held out
    assert timed.facts["verdict"]["status"] == "ok"


def test_what_is_held_out_is_no_sample_of_a_part():
    """Every fourth request takes twice as long: those are the ones that are held against the others."""
    timed = timed_of(
        passes(slower=(1.0, 1.0, 1.0, 2.0)), manifest(), policy="interruptible", batch_size=1, threads=1, load=QUIET
    )
    assert timed.latency.segments[0].p99 == 1.0
    assert timed.facts["predicted_over_measured"] == [0.5, 0.5, 0.5]


def test_what_a_pause_costs_is_kept_apart():
    """Every second request after 1 ms takes 0.3 ms longer, every second after 10 ms 0.8 ms, in whichever part; after
    3 ms as many are quicker as slower, which is no cost."""
    warm = passes(count=40)
    after_1 = [Pass(2, 0.1, [1.3, 2.0, 4.0], {0: 0.5, 1: 0.25}, pause_ms=1.0)] * 20
    after_3 = [Pass(2, 0.1, [1.0 + ms, 2.0, 4.0], {0: 0.5, 1: 0.25}, pause_ms=3.0) for ms in (-0.1, 0.1)] * 10
    after_10 = [Pass(0, 0.1, [2.0], {0: 0.3}, pause_ms=10.0), Pass(2, 0.1, [1, 2, 4.8], {0: 0.5, 1: 0.25}, 10.0)] * 10
    ways = [Pass(0, 0.1, [1.0], {0: 0.5})] * 40
    timed = timed_of(
        [*warm, *after_1, *after_3, *after_10, *ways],
        manifest(),
        policy="contract",
        batch_size=1,
        threads=1,
        load=QUIET,
    )
    assert [(one.pause_ms, one.extra_ms) for one in timed.latency.after_pause] == [(1.0, 0.3), (3.0, 0.0), (10.0, 0.8)]
    assert [part.p99 for part in timed.latency.segments] == [1.0, 2.0, 4.0]  # nothing of it is in the table
    assert set(timed.latency.slow_down) == {1.0}


def test_under_contract_ways_are_held_against_their_own():
    ways = [Pass(0, 0.0, [1.0], {0: 0.5}), Pass(1, 0.0, [1.0, 2.0], {1: 0.25}), Pass(2, 0.0, [1.0, 2.0, 4.0], {})]
    timed = timed_of(ways * 40, manifest(), policy="contract", batch_size=1, threads=1, load=QUIET)
    assert [part.median for part in timed.latency.segments] == [1.0, 2.0, 4.0]
    assert timed.latency.start is None
    assert timed.facts["predicted_over_measured"] == [1.0, 1.0, 1.0]
    assert set(timed.latency.slow_down) == {1.0}


def test_units_are_handed_through():
    clock = Clock()
    inner = Units(clock)
    inner.take = lambda position, state, rows: (position, rows)
    assert TimedUnits(inner, clock=clock).take(1, {}, [0]) == (1, [0])


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_a_bundle_is_measured(tmp_path, policy):
    """Real graphs; of the times only that there are some."""
    pytest.importorskip("onnxruntime")
    from tiny_bundle import write_tiny_bundle

    folder = write_tiny_bundle(tmp_path / "b").path
    said = []
    timed = measure_answers(
        folder,
        [np.zeros((1, 3, 8, 8), dtype=np.float32)],
        policy=policy,
        threads=1,
        max_seconds=0.05,
        seed=0,
        progress=lambda share, words: said.append(words),
    )
    assert len(timed.latency.segments) == len(timed.latency.heads) + 1
    assert all(part.median > 0 for part in [*timed.latency.segments, *timed.latency.heads])
    assert (timed.latency.start is None) == (policy == "contract")
    assert said[-1].startswith("timing answers, request")
