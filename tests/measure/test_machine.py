from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from exitsearch.errors import InputError, UnavailableError
from exitsearch.measure import machine
from exitsearch.measure.nvml import read_gpu


def test_cpu_is_always_there():
    assert machine.resolve_device("cpu") == torch.device("cpu")


def test_missing_gpu_is_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        UnavailableError, match=r"--device cuda: no CUDA device is visible here \(.+\); use --device cpu"
    ):
        machine.resolve_device("cuda")
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UnavailableError, match="CUDA_VISIBLE_DEVICES hides"):
        machine.resolve_device("cuda:0")


def test_gpu_beyond_the_last(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert machine.resolve_device("cuda") == torch.device("cuda", 0)
    with pytest.raises(UnavailableError, match="has 1 CUDA device, numbered from 0; use --device cuda:0"):
        machine.resolve_device("cuda:3")


@pytest.mark.parametrize("name", ["tpu", "mps", "cuda:x", ""])
def test_other_devices_are_refused(name):
    with pytest.raises(InputError, match="a device is written cpu, cuda or cuda:N"):
        machine.resolve_device(name)


def test_dtypes():
    assert machine.resolve_dtype("bf16") == torch.bfloat16
    with pytest.raises(InputError, match="found 'fp8'"):
        machine.resolve_dtype("fp8")


def test_fingerprint_groups():
    environment = machine.fingerprint(
        torch.device("cpu"), dtype="fp32", batch_size=2, input_size=(3, 8, 8), threads=1, runtime="eager"
    )
    identity = environment.identity
    assert (identity["device"], identity["batch_size"], identity["input_size"]) == ("cpu", 2, "3x8x8")
    assert str(torch.__version__).startswith(str(identity["torch"]))
    assert environment.soft["torch_version"] == torch.__version__
    assert not set(identity) & set(environment.soft)


def test_describe_machine_says_why_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    described = machine.describe_machine()
    assert str(described["cuda"]).startswith("none: ")
    assert described["versions"]["torch"] == torch.__version__ or described["versions"]["torch"] in torch.__version__


class FakeNvmlError(Exception):
    pass


def fake_nvml(**changes):
    """NVML with one GPU, `GPU-abc`, throttled by heat and shared with process 1."""

    def by_uuid(uuid):
        if uuid != "GPU-abc":
            raise FakeNvmlError("Not Found")
        return "handle"

    answers = {
        "NVMLError": FakeNvmlError,
        "NVML_CLOCK_GRAPHICS": 0,
        "NVML_CLOCK_MEM": 2,
        "NVML_TEMPERATURE_GPU": 0,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetHandleByUUID": by_uuid,
        "nvmlSystemGetDriverVersion": lambda: "580.1",
        "nvmlDeviceGetEnforcedPowerLimit": lambda handle: 700_000,
        "nvmlDeviceGetMaxClockInfo": lambda handle, kind: 1980,
        "nvmlDeviceGetClockInfo": lambda handle, kind: {0: 1500, 2: 2600}[kind],
        "nvmlDeviceGetTemperature": lambda handle, kind: 61,
        "nvmlDeviceGetPowerUsage": lambda handle: 350_500,
        "nvmlDeviceGetCurrentClocksThrottleReasons": lambda handle: 0x40 | 0x01,
        "nvmlDeviceGetComputeRunningProcesses": lambda handle: [SimpleNamespace(pid=1)],
    }
    return SimpleNamespace(**{**answers, **changes})


CUDA = torch.device("cuda", 0)


def test_gpu_reading():
    """Idle (bit 0) is no reason to worry; thermal slowdown (0x40) is. Milliwatts become watts."""
    reading = read_gpu(CUDA, module=fake_nvml(), uuid="abc")
    assert reading.soft == {"gpu_driver": "580.1", "gpu_power_limit_w": 700.0, "gpu_max_clock_mhz": 1980}
    assert reading.state["gpu_clock_mhz"] == 1500
    assert reading.state["gpu_power_w"] == 350.5
    assert reading.throttled == ["hardware thermal slowdown"]
    assert reading.other_processes == 1
    assert reading.missing == {}


def test_what_a_gpu_refuses_is_missing_with_its_reason():
    def refuse(handle):
        raise FakeNvmlError("Not Supported")

    reading = read_gpu(CUDA, module=fake_nvml(nvmlDeviceGetPowerUsage=refuse), uuid="GPU-abc")
    assert "gpu_power_w" not in reading.state
    assert reading.missing == {"gpu_power_w": "Not Supported"}
    assert reading.soft["gpu_driver"] == "580.1"


def test_no_driver_is_a_reason():
    def no_library():
        raise FakeNvmlError("NVML Shared Library Not Found")

    reading = read_gpu(CUDA, module=fake_nvml(nvmlInit=no_library), uuid="abc")
    assert "NVML Shared Library Not Found" in reading.missing["nvml"]
    assert reading.throttled is None
    assert reading.other_processes is None


def test_unknown_uuid_is_a_reason():
    reading = read_gpu(CUDA, module=fake_nvml(), uuid="other")
    assert "Not Found" in reading.missing["nvml"]
