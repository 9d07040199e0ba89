"""Times of a bundle: quantiles, segments behind heads where every head is run, and a profile's sums."""

from __future__ import annotations

import numpy as np
import pytest
from export_models import chosen
from tiny_backbone import tiny_backbone

from exitsearch.deploy import latency
from exitsearch.deploy.deployed import DeployedGraphs
from exitsearch.deploy.latency import check_profile, measure_graphs, quantiles_of, sum_profile
from exitsearch.errors import InputError, MismatchError
from exitsearch.specs.bundle import BundleHead, BundleSegment
from exitsearch.specs.profile import Profile

FACTS = tiny_backbone().facts
EXITS = [(0, "linear"), (2, "linear")]


def profile(**changes):
    data = {
        "schema_version": 1,
        "backbone": FACTS.model_dump(),
        "environment": {"identity": {"threads": 2, "batch_size": 1}},
        "segments": [
            {"placement": 0, "latency_ms": 1.0},
            {"placement": 1, "latency_ms": 2.0, "resume_ms": 0.25},
            {"placement": 2, "latency_ms": 4.0},
        ],
        "heads": [
            {"placement": 0, "head": "linear", "latency_ms": 0.5},
            {"placement": 2, "head": "linear", "latency_ms": 0.75},
        ],
        "final": {"latency_ms": 8.0, "resume_ms": 0.5},
        "slowdown": [1.0] * 50 + [1.5] * 45 + [3.0] * 5,
        "verdict": {"status": "ok"},
    }
    return Profile.model_validate({**data, **changes})


def test_sums_of_a_profile():
    """By hand: to exit 0 1; to exit 2 2 + 4, and 0.25 behind a head; to the end 8, and 0.5 behind a head. Of 100
    slow-downs the 90th percentile is 1.5 and the 99th 3."""
    timed = sum_profile(profile(), chosen(FACTS, EXITS))
    assert [times.median for times in timed.latency.segments] == [1.0, 6.25, 8.5]
    assert [times.median for times in timed.latency.heads] == [0.5, 0.75]
    assert [times.p90 for times in timed.latency.segments] == [1.5, 9.375, 12.75]
    assert [times.p99 for times in timed.latency.segments] == [3.0, 18.75, 25.5]
    assert (timed.latency.threads, timed.latency.batch_size) == (2, 1)
    assert timed.latency.answers_ms() == pytest.approx(profile().path_ms([(0, "linear"), (2, "linear")]))
    assert "summed over placements: the merged graphs take less" in timed.warning
    assert timed.facts["identity"] == profile().identity


def test_under_contract_no_segment_follows_a_head():
    timed = sum_profile(profile(), chosen(FACTS, EXITS, "contract"))
    assert [times.median for times in timed.latency.segments] == [1.0, 6.0, 8.0]


def test_a_profile_without_slow_downs_knows_medians_alone():
    timed = sum_profile(profile(slowdown=[]), chosen(FACTS, EXITS))
    assert all(times.median == times.p90 == times.p99 for times in timed.latency.segments)
    assert timed.latency.slow_down == []


def test_a_profile_that_lacks_a_head_is_refused():
    with pytest.raises(InputError, match="no head 'mlp_ee' at placement 0"):
        sum_profile(profile(), chosen(FACTS, [(0, "mlp_ee")]))


def test_a_foreign_profile_is_refused():
    other = profile(backbone={**FACTS.model_dump(), "name": "other"})
    with pytest.raises(MismatchError, match="must have the same name"):
        check_profile(other, chosen(FACTS, EXITS))
    with pytest.raises(InputError, match="placements 0 to 2, the configuration an exit at 5"):
        check_profile(profile(), chosen(FACTS, [(5, "linear")]))


@pytest.mark.parametrize(
    ("count", "p90", "p99"),
    [
        (28, 28, 28),  # too few for either: the largest
        (100, 90, 100),
        (300, 270, 297),
    ],
)
def test_percentiles_of_few_samples_are_the_largest(count, p90, p99):
    found = quantiles_of([float(number) for number in range(1, count + 1)], median=0.5)
    assert (found.median, found.p90, found.p99) == (0.5, p90, p99)


def test_quantiles_never_fall():
    """The median has the machine's speed taken out, the percentiles have it in."""
    found = quantiles_of([1.0] * 300, median=2.0)
    assert (found.median, found.p90, found.p99) == (2.0, 2.0, 2.0)


class FakeRuntime:
    """Parts that take what a clock is moved on by; a part behind a head takes longer."""

    identity = {"engine": "1"}  # noqa: RUF012
    cuts_are_free = False

    def __init__(self, clock):
        self.clock = clock
        self.behind_a_head = False
        self.segments = [self.part(1.0)]
        self.heads = {(0, "head_0"): self.head}
        self.final = self.part(4.0)

    def part(self, ms):
        def run(state):
            self.clock.ms += ms + (0.5 if self.behind_a_head else 0.0)
            self.behind_a_head = False
            return state

        return run

    def head(self, state):
        self.clock.ms += 0.25
        self.behind_a_head = True

    def whole(self, x):
        self.clock.ms += 5.0

    def begin(self, x):
        self.behind_a_head = False
        return x

    def features(self, state):
        return state

    def decide(self, outputs):
        pass


class Time:
    ms = 0.0

    def now_ns(self):
        return int(self.ms * 1e6)


@pytest.mark.parametrize(("policy", "final_ms"), [("interruptible", 4.5), ("contract", 4.0)])
def test_segments_are_timed_behind_heads_where_every_head_is_run(monkeypatch, tmp_path, policy, final_ms):
    from exitsearch.measure.timing.clock import HostClock

    time = Time()
    monkeypatch.setattr(latency, "HostClock", lambda: HostClock(time.now_ns))
    graphs = DeployedGraphs(
        tmp_path,
        "x",
        [BundleSegment(file=f"segment_{k}.onnx", inputs=["x"], outputs=["y"]) for k in range(2)],
        [BundleHead(file="head_0.onnx", exit=0, input="y", output="outputs")],
        tmp_path / "whole.onnx",
        "classification",
    )
    timed = measure_graphs(
        FakeRuntime(time),
        graphs.keys,
        [np.zeros((1, 3), np.float32)],
        policy=policy,
        threads=1,
        max_seconds=1.0,
        seed=0,
        progress=lambda share, words: None,
    )
    assert [times.median for times in timed.latency.segments] == [1.0, final_ms]
    assert [times.median for times in timed.latency.heads] == [0.25]
    assert set(timed.latency.slow_down) == {1.0}
    assert timed.facts["source"] == "measured"
