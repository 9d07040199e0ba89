from __future__ import annotations

import os

import pytest
import torch
from fake_nvml import fake_nvml, processes, refuse

from exitsearch.measure.machine.nvml import family, read_gpu

CUDA = torch.device("cuda", 0)
# A number that no process of this machine has: the kernel's largest is 2^22.
ELSEWHERE = 2**22 + 7


def test_gpu_reading():
    """Idle (bit 0) is no reason to worry; thermal slowdown (0x40) is. Milliwatts become watts."""
    reading = read_gpu(CUDA, module=fake_nvml(), uuid="abc")
    assert reading.soft == {"gpu_driver": "580.1", "gpu_power_limit_w": 700.0, "gpu_max_clock_mhz": 1980}
    assert reading.state["gpu_clock_mhz"] == 1500
    assert reading.state["gpu_power_w"] == 350.5
    assert reading.state["gpu_throttle_reasons"] == "hardware thermal slowdown"
    assert reading.state["gpu_other_processes"] == 1
    assert reading.missing == {}


def test_drivers_that_know_only_the_older_name_of_the_reasons():
    older = {
        "nvmlDeviceGetCurrentClocksEventReasons": refuse,
        "nvmlDeviceGetCurrentClocksThrottleReasons": lambda handle: 0x04,
    }
    reading = read_gpu(CUDA, module=fake_nvml(**older), uuid="abc")
    assert reading.state["gpu_throttle_reasons"] == "software power cap"
    assert reading.missing == {}


def test_what_a_gpu_refuses_is_missing_with_its_reason():
    reading = read_gpu(CUDA, module=fake_nvml(nvmlDeviceGetPowerUsage=refuse), uuid="GPU-abc")
    assert "gpu_power_w" not in reading.state
    assert reading.missing == {"gpu_power_w": "Not Supported"}
    assert reading.soft["gpu_driver"] == "580.1"


def test_no_driver_is_a_reason():
    reading = read_gpu(CUDA, module=fake_nvml(nvmlInit=refuse), uuid="abc")
    assert "Not Supported: no NVIDIA driver" in reading.missing["nvml"]
    assert reading.state == {}


def test_unknown_uuid_is_a_reason_and_nvml_is_closed():
    closed = []
    module = fake_nvml(nvmlShutdown=lambda: closed.append(True))
    reading = read_gpu(CUDA, module=module, uuid="other")
    assert "Not Found" in reading.missing["nvml"]
    assert closed == [True]


@pytest.mark.parametrize(
    ("listed", "others", "words"),
    [
        ([], 0, None),
        ([os.getpid()], 0, None),
        ([os.getpid(), ELSEWHERE], 1, None),
        # A parent that trained on the GPU and waits for its measuring child holds its context still.
        ([os.getpid(), os.getppid()], 0, None),
        # Numbers of the host, seen inside a container: one is ours, whatever it is.
        ([ELSEWHERE], 0, None),
        ([ELSEWHERE, ELSEWHERE + 1], None, "which is this one cannot be told"),
    ],
)
def test_who_else_is_on_the_gpu(listed, others, words):
    reading = read_gpu(
        CUDA, module=fake_nvml(nvmlDeviceGetComputeRunningProcesses=lambda handle: processes(*listed)), uuid="abc"
    )
    assert reading.state.get("gpu_other_processes") == others
    assert words is None or words in reading.missing["gpu_processes"]


def test_family_by_hand(tmp_path):
    """This process, its parent P (whose name has brackets), and P's parent 77, of which the kernel tells nothing."""
    parent = tmp_path / str(os.getppid())
    parent.mkdir()
    (parent / "stat").write_text(f"{os.getppid()} (odd) name) S 77 1 1 0\n")
    assert family(tmp_path) == {os.getpid(), os.getppid(), 77}
    assert family(tmp_path / "nothing") == {os.getpid(), os.getppid()}
