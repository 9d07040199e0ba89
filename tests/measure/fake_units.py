"""A runtime whose units take known times on a clock that only they move."""

from __future__ import annotations

from exitsearch.measure.timing.clock import HostClock
from exitsearch.measure.timing.samples import Samples, UnitSamples


def jumps(seconds):
    """A machine that is 30% slower for five seconds of every seven, with a jitter of 0.1% so that nothing settles."""
    return (1.3 if seconds % 7 > 2 else 1.0) * (1 + seconds * 618 % 1 / 1e3)


class FakeRuntime:
    """Segments of 2, 3, 4, ... ms, a final part of 1 ms, and heads of given times.

    `slow(seconds)` is the factor by which everything is slower at that time of the run.
    """

    def __init__(self, *, segments=3, heads=None, decision_ms=0.25, slow=lambda seconds: 1.0):
        self.now_ns = 0.0
        self.slow = slow
        self.log = []
        self.decision_ms = decision_ms
        self.segment_ms = [2.0 + index for index in range(segments)]
        self.head_ms = heads or {}
        self.segments = [self._unit(("segment", i), ms, i) for i, ms in enumerate(self.segment_ms)]
        self.heads = {key: self._unit(("head", *key), ms, "outputs") for key, ms in self.head_ms.items()}
        self.final = self._unit(("final",), 1.0, "outputs")
        self.whole = self._unit(("whole",), sum(self.segment_ms) + 1.0, "outputs")
        self.clock = HostClock(now_ns=lambda: round(self.now_ns))

    def _unit(self, name, ms, result):
        def run(argument):
            self.log.append((*name, argument))
            self.spend(ms)
            return result

        return run

    def spend(self, ms):
        self.now_ns += ms * 1e6 * self.slow(self.now_ns / 1e9)

    def begin(self, x):
        return x

    def features(self, state):
        return f"features {state}"

    def decide(self, outputs):
        assert outputs == "outputs"
        self.spend(self.decision_ms)


def samples_of(whole, *, segments=((2.0,), (3.0,)), final=(1.0,), unsettled=None):
    """Samples with given times."""

    def unit(times):
        return UnitSamples(list(times), rounds=list(range(len(times))))

    return Samples(
        [unit(times) for times in segments],
        {},
        final=unit(final),
        whole=unit(whole),
        unsettled=unsettled or {},
    )
