from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from simulated_device import Costs, Simulation

from exitsearch.measure.timing.clock import CudaClock, HostClock, clock_for

CUDA = torch.device("cuda", 0)


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


# Round numbers: a launch takes 0.5 ms of the host, and nothing else costs anything but what a test names.
PLAIN = Costs(launch=500.0, event=0.0, lookup=0.0, copy=0.0, wait=0.0)


def simulated(**costs):
    simulation = Simulation(replace(PLAIN, **costs), devices=2)
    return simulation, CudaClock(CUDA, now_ns=simulation.now_ns, cuda=simulation)


def run(simulation, device_ms, device=0):
    simulation.launch(1e3 * device_ms, device)


def test_cuda_clock_splits_what_the_host_waited_for():
    """Segment 4 ms and head 2 ms, then a wait; segment 3 ms and final 1 ms, then the end.

    The first event stands at 0 and the device starts at 0.5: events at 4.5 and, after the wait, at 6.5 and a copy's
    launch. The host is at 1.5 by then; it waits until 6.5, and hands over the second segment until 7.0: events at 10
    and 11.
    """
    simulation, clock = simulated()
    clock.start()
    run(simulation, 4.0)
    clock.mark()
    run(simulation, 2.0)
    simulation.copy_to_host(0)
    clock.mark(waited=True)
    run(simulation, 3.0)
    clock.mark()
    run(simulation, 1.0)
    times = clock.stop()
    assert times.device_parts_ms == pytest.approx([4.5, 2.0, 3.5, 1.0])
    assert times.parts_ms == pytest.approx([4.5, 2.0, 3.5, 1.0])
    assert times.total_ms == pytest.approx(11.0)
    assert times.enqueue_ms == pytest.approx(7.5)


def test_cuda_clock_gives_the_wait_to_the_part_that_ends_in_it():
    """The host learns 1 ms late that the device is done: 0.5 + 1 and 2 ms of device time are 4.5 ms to the user."""
    simulation, clock = simulated(wait=1000.0)
    clock.start()
    run(simulation, 1.0)
    clock.mark()
    run(simulation, 2.0)
    times = clock.stop()
    assert times.device_parts_ms == pytest.approx([1.5, 2.0])
    assert times.parts_ms == pytest.approx([1.5, 3.0])
    assert times.total_ms == pytest.approx(4.5)


def test_the_event_after_a_wait_belongs_to_no_part():
    """An event takes the host 0.25 ms. Head: launch 0.5, run 2, copy's launch hidden, so 2.5; then the event; then a
    segment of 0.5 + 3 and, behind the event of the end, nothing more.
    """
    simulation, clock = simulated(event=250.0)
    clock.start()
    run(simulation, 2.0)
    simulation.copy_to_host(0)
    clock.mark(waited=True)
    run(simulation, 3.0)
    times = clock.stop()
    assert times.parts_ms == pytest.approx([2.5, 3.5])
    assert times.total_ms == pytest.approx(2.5 + 0.25 + 3.5)


def test_cuda_clock_makes_its_events_once_and_looks_its_stream_up_once_a_pass():
    simulation, clock = simulated(lookup=250.0)
    for number in range(3):
        clock.start()
        begin = simulation.host_us
        for _ in range(5):
            clock.mark()
        clock.stop()
        # Nothing was launched, so nothing but a lookup could have cost anything.
        assert simulation.host_us == begin
        assert simulation.lookups == number + 1
    assert len(clock._events) == 7


@pytest.mark.parametrize("index", [0, 1])
def test_cuda_clock_times_its_own_device_whichever_is_current(index):
    simulation = Simulation(PLAIN, devices=2)
    clock = CudaClock(torch.device("cuda", index), now_ns=simulation.now_ns, cuda=simulation)
    clock.start()
    run(simulation, 4.0, device=index)
    clock.mark()
    run(simulation, 2.0, device=index)
    assert clock.stop().device_parts_ms == pytest.approx([4.5, 2.0])


def test_cuda_clock_stands_in_the_stream_that_is_current():
    simulation, clock = simulated()
    with simulation.stream(simulation.Stream(CUDA)):
        clock.start()
        run(simulation, 4.0)
        clock.mark()
        run(simulation, 2.0)
        assert clock.stop().device_parts_ms == pytest.approx([4.5, 2.0])


def test_an_idle_device_rests_before_a_pass_and_no_part_holds_it():
    """33 ms of rest on a clock that the rest moves, then parts of 2 and 3 ms; twice."""
    now = [0]

    def rest(seconds):
        now[0] += round(seconds * 1e9)

    clock = HostClock(now_ns=lambda: now[0], rest_s=0.033, sleep=rest)
    for _ in range(2):
        clock.start()
        now[0] += 2_000_000
        clock.mark()
        now[0] += 3_000_000
        assert clock.stop().parts_ms == [2.0, 3.0]
    assert now[0] == 2 * 38_000_000
    assert clock.rested_s == pytest.approx(0.066)


def test_a_device_with_a_queue_rests_when_it_is_empty():
    """A launch before the pass: the host waits for its 4 ms, rests 10 ms, and only then begins."""
    simulation, log = Simulation(PLAIN, devices=2), []
    clock = CudaClock(
        CUDA, now_ns=simulation.now_ns, cuda=simulation, rest_s=0.01, sleep=lambda s: log.append(simulation.now_ns())
    )
    run(simulation, 4)
    clock.start()
    assert log == [pytest.approx(4.5e6)]  # launched after 0.5 ms
    run(simulation, 2)
    assert clock.stop().total_ms == pytest.approx(2.5)


def test_clock_for_device():
    assert isinstance(clock_for(torch.device("cpu")), HostClock)
    assert clock_for(torch.device("cpu"), rest_s=0.5).rest_s == 0.5
    assert isinstance(clock_for(CUDA), CudaClock)
    assert CudaClock.marks_cost
    assert not HostClock.marks_cost
