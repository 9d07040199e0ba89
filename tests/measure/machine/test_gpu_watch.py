"""A GPU over a measurement, on an NVML and clocks that only the tests move."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch
from fake_nvml import fake_nvml, processes, refuse

from exitsearch.measure.machine import gpu_watch
from exitsearch.measure.machine.gpu_watch import GpuWatch

CUDA = torch.device("cuda", 0)
ELSEWHERE = 2**22 + 7


class FakeGpu:
    """Time passes by `run`; while it does, the GPU is throttled for given shares, and cools at once when it ends."""

    def __init__(self, *, power=0.0, thermal=0.0, clocks=(1980,), bits=0, **changes):
        self.now, self.ns, self.bits = 0.0, {0: 5e9, 1: 7e9, 3: 0.0}, 0
        self.shares, self.busy_bits, self.clocks = {0: power, 1: thermal, 3: 0.0}, bits, list(clocks)
        self.nvml = fake_nvml(
            nvmlDeviceGetViolationStatus=lambda handle, policy: SimpleNamespace(violationTime=int(self.ns[policy])),
            nvmlDeviceGetCurrentClocksEventReasons=lambda handle: self.bits,
            nvmlDeviceGetClockInfo=lambda handle, kind: self.clocks[0],
            nvmlDeviceGetComputeRunningProcesses=lambda handle: processes(os.getpid()),
        )
        vars(self.nvml).update(changes)

    def watch(self):
        return GpuWatch(CUDA, module=self.nvml, uuid="abc", now=lambda: self.now, unix=lambda: 1000 + self.now)

    def measure(self, *, rounds=10, seconds=1.0):
        """A measurement with a look after each round, told as the protocol tells its progress."""
        watch, told = self.watch(), []
        progress = watch.beside(lambda done, text: told.append(text))
        for number in range(rounds):
            self.now += seconds
            for policy, share in self.shares.items():
                self.ns[policy] += share * seconds * 1e9
            self.bits = self.busy_bits
            self.clocks = self.clocks[1:] + self.clocks[:1]
            progress(number / rounds, f"round {number}")
        self.bits = 1
        assert told == [f"round {number}" for number in range(rounds)]
        return watch.end()


def test_a_quiet_gpu():
    use = FakeGpu().measure()
    assert (use.throttled, use.foreign, use.clocks_mhz) == ([], 0, (1980, 1980))
    assert use.throttled_share == {"power": 0, "thermal": 0, "board": 0}
    assert "steady at 1980 MHz" in use.clocks
    assert use.missing == {"gpu_process_use": "Not Supported"}


def test_throttling_during_the_run_is_found_although_the_gpu_idles_before_and_after():
    """Power-capped for 3 of 10 s: the counter says so, and the readings at both ends would not."""
    use = FakeGpu(power=0.3).measure()
    assert use.throttled == ["software power cap"]
    assert use.throttled_share["power"] == pytest.approx(0.3)
    assert use.before.state["gpu_throttle_reasons"] == use.after.state["gpu_throttle_reasons"] == "none"
    assert use.facts()["gpu_throttled_share_power"] == 0.3


def test_throttling_for_a_moment_moves_no_median():
    """A counter that covers a reason outweighs a look that happened on one of its moments."""
    assert FakeGpu(thermal=0.004, bits=0x20).measure().throttled == []


def test_where_there_are_no_counters_looks_between_rounds_tell():
    use = FakeGpu(bits=0x40, nvmlDeviceGetViolationStatus=refuse).measure()
    assert use.throttled == ["hardware thermal slowdown"]
    assert use.throttled_share == {}


def test_reasons_without_a_counter_come_from_the_looks():
    assert FakeGpu(bits=0x80).measure().throttled == ["hardware power brake"]


def test_newer_drivers_count_in_fields():
    """NVML's older question ends with CUDA 14; the fields hold the same nanoseconds."""
    fake = FakeGpu(thermal=0.5, nvmlDeviceGetViolationStatus=refuse)
    policies = {74: 0, 75: 1, 77: 3}

    def field_values(handle, fields):
        number = policies[fields[0]]
        return [SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(ullVal=int(fake.ns[number])))]

    fake.nvml.nvmlDeviceGetFieldValues = field_values
    use = fake.measure()
    assert use.throttled == ["thermal slowdown"]
    assert use.throttled_share["thermal"] == pytest.approx(0.5)
    assert "gpu_throttled_thermal" not in use.missing


def test_nothing_that_tells_is_unknown_and_not_none():
    use = FakeGpu(
        nvmlDeviceGetViolationStatus=refuse,
        nvmlDeviceGetCurrentClocksEventReasons=refuse,
        nvmlDeviceGetComputeRunningProcesses=refuse,
        nvmlDeviceGetClockInfo=refuse,
    ).measure()
    assert (use.throttled, use.foreign, use.clocks_mhz, use.clocks) == (None, None, None, "not read")
    assert use.facts()["not_read_gpu_throttled_power"] == "Not Supported"


def test_clocks_that_moved_are_said_with_the_command_that_locks_them():
    use = FakeGpu(clocks=(1980, 1755, 1900)).measure()
    assert use.clocks_mhz == (1755, 1980)
    assert "not locked" in use.clocks
    assert "nvidia-smi --lock-gpu-clocks=1755,1755" in use.clocks
    assert use.facts()["gpu_clocks"] == use.clocks


def test_looks_are_not_taken_at_every_round():
    """Rounds of 10 ms for a second: a look each 0.25 s, four in all."""
    asked = []
    fake = FakeGpu()
    fake.nvml.nvmlDeviceGetClockInfo = lambda handle, kind: asked.append(kind) or 1980
    fake.measure(rounds=105, seconds=0.01)
    # Kind 0 is asked for once in each whole reading, before and after.
    assert asked.count(0) == 4 + 2


def used(*pids, at=1005.0, share=50):
    return lambda handle, since: [SimpleNamespace(pid=pid, smUtil=share, timeStamp=int(at * 1e6)) for pid in pids]


@pytest.mark.parametrize(
    ("use", "foreign"),
    [
        (used(os.getpid()), 0),
        # The parent holds a context (see `listed`) and does nothing.
        (used(os.getpid(), ELSEWHERE), 1),
        # A parent that goes on computing does disturb.
        (used(os.getpid(), os.getppid()), 1),
        # In a container: numbers of the host, one of them ours.
        (used(ELSEWHERE), 0),
        (used(ELSEWHERE, ELSEWHERE + 1), 1),
        # Computed before the measurement began, or nothing: the contexts are all there is to go by.
        (used(ELSEWHERE, at=999.0), 1),
        (used(ELSEWHERE, share=0), 1),
    ],
)
def test_who_computed_meanwhile(use, foreign):
    listed = processes(os.getpid(), os.getppid(), ELSEWHERE)
    fake = FakeGpu(nvmlDeviceGetProcessUtilization=use, nvmlDeviceGetComputeRunningProcesses=lambda handle: listed)
    assert fake.measure().foreign == foreign


def test_no_nvml_is_a_reason_and_looking_does_nothing():
    use = FakeGpu(nvmlInit=refuse).measure()
    assert (use.throttled, use.foreign, use.clocks_mhz) == (None, None, None)
    assert "no NVIDIA driver" in use.missing["nvml"]


def test_the_counters_numbers_are_those_of_nvml():
    pynvml = pytest.importorskip("pynvml")
    names = {"power": "POWER", "thermal": "THERMAL", "board": "BOARD_LIMIT"}
    for name, (_, policy, counter) in gpu_watch._COUNTERS.items():
        assert policy == getattr(pynvml, f"NVML_PERF_POLICY_{names[name]}")
        assert counter == getattr(pynvml, f"NVML_FI_DEV_PERF_POLICY_{names[name]}")


def test_the_real_library_without_a_driver_is_a_reason(monkeypatch):
    """Here as on any machine where no NVIDIA driver is installed; where one is, the device must be found."""
    pynvml = pytest.importorskip("pynvml")
    watch = GpuWatch(CUDA, module=pynvml, uuid="GPU-00000000-0000-0000-0000-000000000000")
    watch.look()
    use = watch.end()
    assert use.throttled is None
    assert "nvml" in use.missing
