"""What NVML knows of a GPU: driver, clocks, temperature, throttling, other processes.

NVML numbers GPUs by itself and ignores CUDA_VISIBLE_DEVICES, so a GPU is found by its UUID. Where NVML or one of its
answers is missing, a reason stands in the place of a number, never 0.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
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
        missing: what could not be read and why.
    """

    soft: dict[str, Scalar] = field(default_factory=dict)
    state: dict[str, Scalar] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


class Gpu:
    """One GPU as NVML knows it. What it refuses to tell is noted with the reason.

    Args:
        nvml: `pynvml`, initialised, or a stand-in.
        handle: NVML's handle of the GPU.

    Attributes:
        missing: what could not be read and why.
    """

    def __init__(self, nvml: Any, handle: Any) -> None:
        self.nvml = nvml
        self._handle = handle
        self.missing: dict[str, str] = {}

    def ask(self, name: str, function: str, *arguments: Any) -> Any:
        """One answer about this GPU, or None with the reason noted: some refuse some questions (virtual ones, MIG)."""
        try:
            return getattr(self.nvml, function)(self._handle, *arguments)
        except (self.nvml.NVMLError, AttributeError) as error:
            self.missing[name] = str(error)
            return None

    def clock_mhz(self) -> int | None:
        """The clock of the multiprocessors now."""
        found: int | None = self.ask("gpu_clock_mhz", "nvmlDeviceGetClockInfo", self.nvml.NVML_CLOCK_GRAPHICS)
        return found

    def throttled(self) -> list[str] | None:
        """Why the GPU runs slower than it could at this moment; None when it does not tell."""
        name = "gpu_throttle_reasons"
        # The newer name is not known to drivers before 535, the older one not to those of CUDA 14.
        bits = self.ask(name, "nvmlDeviceGetCurrentClocksEventReasons")
        if bits is None:
            bits = self.ask(name, "nvmlDeviceGetCurrentClocksThrottleReasons")
        if bits is None:
            return None
        self.missing.pop(name, None)
        return [words for bit, words in THROTTLE_REASONS.items() if bits & bit]

    def other_processes(self, proc: Path = Path("/proc")) -> int | None:
        """Processes with a context on the GPU beside this one and its ancestors; None when it does not tell.

        A parent that trained here and now waits for a measuring child keeps its context, and disturbs nothing.

        Args:
            proc: where the proc file system is mounted.
        """
        processes = self.ask("gpu_processes", "nvmlDeviceGetComputeRunningProcesses")
        if processes is None:
            return None
        listed = {process.pid for process in processes}
        if not listed <= {os.getpid()} and not shares_pids(listed, proc):
            # NVML may number processes as the host does, and inside a container nobody knows one's number outside.
            if len(listed) > 1:
                self.missing["gpu_processes"] = (
                    f"{len(listed)} processes are on the GPU, numbered as outside this container: which is this one "
                    "cannot be told"
                )
                return None
            return 0
        return len(listed - family(proc))

    def read(self) -> GpuReading:
        """Everything at this moment."""
        graphics, memory = self.nvml.NVML_CLOCK_GRAPHICS, self.nvml.NVML_CLOCK_MEM
        soft: dict[str, Scalar] = {
            "gpu_driver": self._driver(),
            "gpu_power_limit_w": _watts(self.ask("gpu_power_limit_w", "nvmlDeviceGetEnforcedPowerLimit")),
            "gpu_max_clock_mhz": self.ask("gpu_max_clock_mhz", "nvmlDeviceGetMaxClockInfo", graphics),
        }
        throttled = self.throttled()
        state: dict[str, Scalar] = {
            "gpu_clock_mhz": self.clock_mhz(),
            "gpu_memory_clock_mhz": self.ask("gpu_memory_clock_mhz", "nvmlDeviceGetClockInfo", memory),
            "gpu_temperature_c": self.ask(
                "gpu_temperature_c", "nvmlDeviceGetTemperature", self.nvml.NVML_TEMPERATURE_GPU
            ),
            "gpu_power_w": _watts(self.ask("gpu_power_w", "nvmlDeviceGetPowerUsage")),
            "gpu_throttle_reasons": None if throttled is None else ", ".join(throttled) or "none",
            "gpu_other_processes": self.other_processes(),
        }
        return GpuReading(
            soft={key: value for key, value in soft.items() if value is not None},
            state={key: value for key, value in state.items() if value is not None},
            missing=dict(self.missing),
        )

    def _driver(self) -> str | None:
        try:
            return str(self.nvml.nvmlSystemGetDriverVersion())
        except self.nvml.NVMLError as error:
            self.missing["gpu_driver"] = str(error)
            return None


def _watts(milliwatts: float | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def read_gpu(device: torch.device, *, module: Any = None, uuid: str | None = None) -> GpuReading:
    """Read a CUDA device's facts; never raises.

    Args:
        device: the CUDA device.
        module: `pynvml`, or a stand-in; None imports it.
        uuid: the device's UUID as torch gives it; None asks torch.
    """
    gpu = find_gpu(device, module=module, uuid=uuid)
    if isinstance(gpu, str):
        return GpuReading(missing={"nvml": gpu})
    try:
        return gpu.read()
    finally:
        gpu.nvml.nvmlShutdown()


def find_gpu(device: torch.device, *, module: Any = None, uuid: str | None = None) -> Gpu | str:
    """A CUDA device as NVML knows it, or why NVML does not tell. NVML stays open until `gpu.nvml.nvmlShutdown()`.

    Args:
        device: the CUDA device.
        module: `pynvml`, or a stand-in; None imports it.
        uuid: the device's UUID as torch gives it; None asks torch.
    """
    try:
        nvml = module or import_module("pynvml")
    except ImportError as error:
        return f"the package nvidia-ml-py is not installed ({error})"
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return f"{error}: no NVIDIA driver that NVML can use"
    try:
        return Gpu(nvml, open_gpu(nvml, device, uuid=uuid))
    except nvml.NVMLError as error:
        nvml.nvmlShutdown()
        return f"{error}: the GPU of {device} is not known to NVML by its UUID"


def open_gpu(nvml: Any, device: torch.device, *, uuid: str | None = None) -> Any:
    """NVML's handle of a CUDA device, by its UUID.

    Args:
        nvml: `pynvml`, initialised, or a stand-in.
        device: the CUDA device.
        uuid: the device's UUID as torch gives it; None asks torch.
    """
    uuid = uuid or str(torch.cuda.get_device_properties(device).uuid)
    return nvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}")


def shares_pids(listed: Collection[int], proc: Path = Path("/proc")) -> bool:
    """Whether process numbers that NVML gave are those of this process's own namespace.

    They are when this process is among them, or when any of them runs here: outside a container numbers run on, so
    that those of its processes are hardly ever met inside.

    Args:
        listed: process numbers.
        proc: where the proc file system is mounted.
    """
    return os.getpid() in listed or any((proc / str(pid)).exists() for pid in listed)


def family(proc: Path = Path("/proc")) -> set[int]:
    """This process and all its ancestors, as far as the kernel tells.

    Args:
        proc: where the proc file system is mounted.
    """
    found, pid = {os.getpid()}, os.getppid()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            # The name stands in brackets and may hold spaces and brackets; state and parent follow.
            pid = int((proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
    return found
