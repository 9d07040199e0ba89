"""The rules of the simulated device, by hand: launch 1 us, event 0.5, wait 2, copy 3, everything else nothing."""

from __future__ import annotations

import pytest
import torch
from simulated_device import Costs, DeviceTensor, Simulation

COSTS = Costs(launch=1.0, graph_launch=4.0, upload=10.0, event=0.5, lookup=0.0, copy=3.0, wait=2.0, operation=5.0)
FIRST, SECOND = torch.device("cuda", 0), torch.device("cuda", 1)


@pytest.fixture
def simulation():
    return Simulation(COSTS, devices=2)


def test_the_host_runs_ahead_until_it_waits(simulation):
    """Two kernels of 10: the host is done at 2, the device at 1 + 20; a wait returns 2 later."""
    for _ in range(2):
        simulation.launch(10.0, 0)
    assert simulation.host_us == 2.0
    simulation.synchronize(FIRST)
    assert simulation.host_us == 23.0
    simulation.launch(10.0, 0)
    assert simulation.streams[0].free_us == 34.0  # the device was idle from 21 to 24


def test_a_copy_waits_for_its_own_device(simulation):
    """The second device is busy until 101; the copy's launch ends at 2, the copy at 5, the wait at 7."""
    simulation.launch(100.0, 1)
    simulation.copy_to_host(0)
    assert simulation.host_us == 7.0
    simulation.synchronize(SECOND)
    assert simulation.host_us == 103.0


def test_an_event_sees_its_own_stream_alone(simulation):
    """Work on the second device; events of the first one, which is current, see nothing but the host's time."""
    events = [simulation.Event(enable_timing=True) for _ in range(4)]
    for event, stream in zip(events[:2], (None, simulation.current_stream(SECOND)), strict=True):
        event.record(stream)
    simulation.launch(10.0, 1)
    for event, stream in zip(events[2:], (None, simulation.current_stream(SECOND)), strict=True):
        event.record(stream)
    # Recorded at 0.5, 1.0, 2.5 and 3.0; the kernel is launched by 2.0 and done at 12.0.
    assert events[0].elapsed_time(events[2]) == pytest.approx(0.002)
    assert events[1].elapsed_time(events[3]) == pytest.approx(0.011)
    with pytest.raises(RuntimeError, match="device"):
        events[0].elapsed_time(events[1])


def test_streams_are_ordered_only_where_they_wait(simulation):
    side = simulation.Stream(FIRST)
    simulation.launch(10.0, 0)
    with simulation.stream(side):
        simulation.launch(10.0, 0)
    assert side.free_us == 12.0  # beside the first kernel, not behind it
    side.wait_stream(simulation.current_stream(FIRST))
    simulation.current_stream(FIRST).wait_stream(side)
    assert simulation.streams[0].free_us == 12.0


def test_a_graph_is_one_launch_of_what_its_stream_was_given(simulation):
    """Two kernels of 10 captured, one launched elsewhere meanwhile; the first replay costs the upload too."""
    graph = simulation.CUDAGraph()
    with simulation.graph(graph, pool=simulation.graph_pool_handle(), stream=simulation.Stream(FIRST)):
        simulation.launch(10.0, 0)
        simulation.launch(7.0, 1)
        simulation.launch(10.0, 0)
    assert graph.kernels_us == [10.0, 10.0]
    begin = simulation.host_us
    graph.replay()
    graph.replay()
    assert simulation.host_us - begin == 14.0 + 4.0
    assert simulation.streams[0].free_us - begin == 14.0 + 20.0 + 20.0


def test_operators_on_its_tensors_are_kernels_and_reading_them_waits(simulation):
    """Softmax, maximum: 5 each behind launches of 1; the copy of 3 ends at 14, and the host has it at 16."""
    x = DeviceTensor.made(simulation, 0)
    confidence, _ = x.float().softmax(dim=-1).max(dim=-1)
    assert simulation.host_us == 2.0
    assert confidence.device == FIRST
    assert confidence.tolist() == [0.25]
    assert simulation.host_us == 16.0
