"""What NVML knows of a GPU: driver, clocks, temperature, throttling, other processes.

NVML numbers GPUs by itself and ignores CUDA_VISIBLE_DEVICES, so a GPU is found by its UUID. Where NVML or one of its
answers is missing, a reason stands in the place of a number, never 0.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch

from exitsearch.specs.profile import Scalar

# NVML's bits for reasons that slow a busy GPU (nvmlClocksEventReasons); idle and a user's own clock settings do not.
THROTTLE_REASONS = {
    0x04: "software power cap",
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}


@dataclass(frozen=True)
class GpuReading:
    """One look at a GPU.

    Attributes:
        soft: facts that may shift times: driver, power limit, clock limits.
        state: facts of the moment: clocks, temperature, throttling, other processes.
        throttled: why the GPU runs slower than it could, in words; None when that could not be read.
        other_processes: processes on the GPU beside this one; None when that could not be read.
        missing: what could not be read and why.
    """

    soft: dict[str, Scalar] = field(default_factory=dict)
    state: dict[str, Scalar] = field(default_factory=dict)
    throttled: list[str] | None = None
    other_processes: int | None = None
    missing: dict[str, str] = field(default_factory=dict)


def read_gpu(device: torch.device, *, module: Any = None, uuid: str | None = None) -> GpuReading:
    """Read a CUDA device's facts; never raises.

    Args:
        device: the CUDA device.
        module: `pynvml`, or a stand-in; None imports it.
        uuid: the device's UUID as torch gives it; None asks torch.
    """
    try:
        nvml = module or import_module("pynvml")
    except ImportError as error:
        return GpuReading(missing={"nvml": f"the package nvidia-ml-py is not installed ({error})"})
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return GpuReading(missing={"nvml": f"{error}: no NVIDIA driver that NVML can use"})
    try:
        return _read(nvml, open_gpu(nvml, device, uuid=uuid))
    except nvml.NVMLError as error:
        return GpuReading(missing={"nvml": f"{error}: the GPU of {device} is not known to NVML by its UUID"})
    finally:
        nvml.nvmlShutdown()


def open_gpu(nvml: Any, device: torch.device, *, uuid: str | None = None) -> Any:
    """NVML's handle of a CUDA device, by its UUID.

    Args:
        nvml: `pynvml`, initialised, or a stand-in.
        device: the CUDA device.
        uuid: the device's UUID as torch gives it; None asks torch.
    """
    uuid = uuid or str(torch.cuda.get_device_properties(device).uuid)
    return nvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}")


def _read(nvml: Any, handle: Any) -> GpuReading:
    missing: dict[str, str] = {}

    def ask(name: str, function: str, *arguments: Any) -> Any:
        """One answer, or None with the reason noted: some GPUs refuse some questions (virtual ones, MIG)."""
        try:
            return getattr(nvml, function)(*arguments)
        except (nvml.NVMLError, AttributeError) as error:
            missing[name] = str(error)
            return None

    def milliwatts_to_watts(value: Any) -> Any:
        return None if value is None else value / 1000

    graphics, memory = nvml.NVML_CLOCK_GRAPHICS, nvml.NVML_CLOCK_MEM
    soft: dict[str, Scalar] = {
        "gpu_driver": ask("gpu_driver", "nvmlSystemGetDriverVersion"),
        "gpu_power_limit_w": milliwatts_to_watts(ask("gpu_power_limit_w", "nvmlDeviceGetEnforcedPowerLimit", handle)),
        "gpu_max_clock_mhz": ask("gpu_max_clock_mhz", "nvmlDeviceGetMaxClockInfo", handle, graphics),
    }
    state: dict[str, Scalar] = {
        "gpu_clock_mhz": ask("gpu_clock_mhz", "nvmlDeviceGetClockInfo", handle, graphics),
        "gpu_memory_clock_mhz": ask("gpu_memory_clock_mhz", "nvmlDeviceGetClockInfo", handle, memory),
        "gpu_temperature_c": ask("gpu_temperature_c", "nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU),
        "gpu_power_w": milliwatts_to_watts(ask("gpu_power_w", "nvmlDeviceGetPowerUsage", handle)),
    }
    bits = ask("gpu_throttle_reasons", "nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    throttled = None if bits is None else [words for bit, words in THROTTLE_REASONS.items() if bits & bit]
    processes = ask("gpu_processes", "nvmlDeviceGetComputeRunningProcesses", handle)
    others = None if processes is None else sum(process.pid != os.getpid() for process in processes)
    if throttled is not None:
        state["gpu_throttle_reasons"] = ", ".join(throttled) or "none"
    if others is not None:
        state["gpu_other_processes"] = others
    return GpuReading(
        soft={key: value for key, value in soft.items() if value is not None},
        state={key: value for key, value in state.items() if value is not None},
        throttled=throttled,
        other_processes=others,
        missing=missing,
    )
