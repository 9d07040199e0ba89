"""NVML with one GPU that the tests set as they like."""

from __future__ import annotations

import os
from types import SimpleNamespace


class FakeNvmlError(Exception):
    pass


def refuse(*_):
    raise FakeNvmlError("Not Supported")


def processes(*pids):
    return [SimpleNamespace(pid=pid) for pid in pids]


def fake_nvml(**changes):
    """`GPU-abc`, slowed down by heat at this moment; this process and one that is not of its family are on it."""

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
        "nvmlDeviceGetCurrentClocksEventReasons": lambda handle: 0x40 | 0x01,
        "nvmlDeviceGetCurrentClocksThrottleReasons": refuse,
        "nvmlDeviceGetComputeRunningProcesses": lambda handle: processes(os.getpid(), 2**22 + 7),
        "nvmlDeviceGetViolationStatus": lambda handle, policy: SimpleNamespace(violationTime=0),
        "nvmlDeviceGetFieldValues": refuse,
        "nvmlDeviceGetProcessUtilization": refuse,
    }
    return SimpleNamespace(**{**answers, **changes})
