from __future__ import annotations

import torch

from exitsearch.measure.clock import CudaClock, HostClock, clock_for


def test_host_clock_splits_at_marks():
    readings = iter([0, 2_000_000, 5_000_000, 9_000_000])
    clock = HostClock(now_ns=lambda: next(readings))
    clock.start()
    clock.mark()
    clock.mark(waited=True)
    times = clock.stop()
    assert times.parts_ms == [2.0, 3.0, 4.0]
    assert times.total_ms == 9.0
    assert times.device_parts_ms is None


class FakeCuda:
    """A device with a queue: work is handed over at once and done later; the host can wait for it."""

    def __init__(self, return_ms=0.0):
        self.return_ms = return_ms
        self.host_ms = 0.0
        self.device_ms = 0.0
        self.waits = 0
        self.events_made = 0

    def run(self, device_ms, launch_ms=0.5):
        self.host_ms += launch_ms
        self.device_ms = max(self.device_ms, self.host_ms) + device_ms

    def wait(self):
        self.host_ms = max(self.host_ms, self.device_ms) + self.return_ms

    def synchronize(self, device):
        self.waits += 1
        self.wait()

    def now_ns(self):
        return round(self.host_ms * 1e6)

    def Event(self, *, enable_timing):
        assert enable_timing
        self.events_made += 1
        return FakeEvent(self)


class FakeEvent:
    def __init__(self, cuda):
        self.cuda = cuda

    def record(self):
        self.at = max(self.cuda.device_ms, self.cuda.host_ms)

    def elapsed_time(self, other):
        return other.at - self.at


def test_cuda_clock_shares_out_host_time_between_waits():
    """Segment 4 ms and head 2 ms, then a wait; segment 3 ms and final 1 ms, then the end.

    Launches take 0.5 ms of the host. The first event stands at 0 and the device starts at 0.5: events 0, 4.5, 6.5. The
    host waits until 6.5, hands over the second segment until 7.0: events 10 and 11. The host stands at 6.5 and at 11,
    so host and device times are the same here.
    """
    cuda = FakeCuda()
    clock = CudaClock(torch.device("cuda", 0), now_ns=cuda.now_ns, cuda=cuda)
    clock.start()
    cuda.run(4.0)
    clock.mark()
    cuda.run(2.0)
    cuda.wait()
    clock.mark(waited=True)
    cuda.run(3.0)
    clock.mark()
    cuda.run(1.0)
    times = clock.stop()
    assert times.device_parts_ms == [4.5, 2.0, 3.5, 1.0]
    assert times.parts_ms == [4.5, 2.0, 3.5, 1.0]
    assert times.total_ms == 11.0
    assert times.enqueue_ms == 7.5
    assert cuda.waits == 2  # before and after, never at a boundary


def test_cuda_clock_counts_the_wait_itself():
    """The host learns 1 ms late that the device is done: 1 + 2 ms of device time are 4 ms to the user, shared out."""
    cuda = FakeCuda(return_ms=1.0)
    clock = CudaClock(torch.device("cuda", 0), now_ns=cuda.now_ns, cuda=cuda)
    clock.start()
    cuda.run(1.0, launch_ms=0.0)
    clock.mark()
    cuda.run(2.0, launch_ms=0.0)
    times = clock.stop()
    assert times.device_parts_ms == [1.0, 2.0]
    assert times.parts_ms == [4.0 / 3, 8.0 / 3]
    assert times.total_ms == 4.0
    assert times.enqueue_ms == 0.0


def test_cuda_clock_makes_its_events_once():
    cuda = FakeCuda()
    clock = CudaClock(torch.device("cuda", 0), now_ns=cuda.now_ns, cuda=cuda)
    for _ in range(3):
        clock.start()
        cuda.run(1.0)
        clock.mark()
        clock.stop()
    assert cuda.events_made == 3


def test_clock_for_device():
    assert isinstance(clock_for(torch.device("cpu")), HostClock)
    assert isinstance(clock_for(torch.device("cuda", 0)), CudaClock)
