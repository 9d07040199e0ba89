"""The GPU during a measurement: what throttled it, how its clock moved, and who else computed on it.

An idle GPU throttles nothing and clocks down, so a look before and one after tell little. NVML's counters of throttled
time are differenced over the whole measurement, and between rounds, while the GPU is hot, its clock is read:

    start |---- rounds ----| look |---- rounds ----| look |--- ... ---| end
      ^ counters             ^ clock, reasons        ^                  ^ counters, who computed

Nothing is read while a pass is timed, and there is no thread that would take the interpreter from one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from exitsearch.measure.machine.nvml import Gpu, GpuReading, find_gpu, shares_pids
from exitsearch.measure.timing.latency import Progress
from exitsearch.specs.profile import Scalar

# Time between two looks: each takes up to some milliseconds.
LOOK_EVERY_S = 0.25
# A reason that held for less of the time than this moves no median.
FEW_THROTTLED = 0.01

# Counters of throttled time in nanoseconds: words, policy (nvmlPerfPolicyType_t), and the field that newer drivers
# answer with (NVML_FI_DEV_PERF_POLICY_POWER, _THERMAL, _BOARD_LIMIT). The numbers are NVML's for all time.
_COUNTERS = {
    "power": ("software power cap", 0, 74),
    "thermal": ("thermal slowdown", 1, 75),
    "board": ("board limit", 3, 77),
}
# Reasons of a moment that a counter covers for all the time.
_COVERED = {
    "software power cap": "power",
    "software thermal slowdown": "thermal",
    "hardware thermal slowdown": "thermal",
}


@dataclass(frozen=True)
class GpuUse:
    """The GPU over one measurement.

    Attributes:
        before: a whole reading at the start.
        after: one at the end.
        throttled: why the GPU ran slower than it could, in words; None when it does not tell.
        throttled_share: share of the time for which each counted reason held.
        foreign: other processes that computed on it, or where that is not told, that held a context; None unknown.
        clocks_mhz: lowest and highest clock between rounds; None when none was read.
        missing: what could not be read and why.
    """

    before: GpuReading
    after: GpuReading
    throttled: list[str] | None = None
    throttled_share: Mapping[str, float] = field(default_factory=dict)
    foreign: int | None = None
    clocks_mhz: tuple[int, int] | None = None
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def clocks(self) -> str:
        """What the clock did, in words, and where it moved, how to lock it."""
        if self.clocks_mhz is None:
            return "not read"
        low, high = self.clocks_mhz
        if low == high:
            return f"steady at {high} MHz between rounds (NVML does not tell whether it was locked)"
        return f"moved from {low} to {high} MHz between rounds: not locked, or throttled; {lock_command(low)}"

    def facts(self) -> dict[str, Scalar]:
        """For a profile's `state` group."""
        found: dict[str, Scalar] = {f"{key}_after": value for key, value in self.after.state.items()}
        found |= {f"gpu_throttled_share_{name}": round(share, 5) for name, share in self.throttled_share.items()}
        found["gpu_clocks"] = self.clocks
        if self.foreign is not None:
            found["gpu_foreign_processes"] = self.foreign
        return found | {f"not_read_{name}": reason for name, reason in self.missing.items()}


def lock_command(mhz: int) -> str:
    """How to lock a GPU's clock, in words.

    Args:
        mhz: a clock that it can hold.
    """
    return f"nvidia-smi --lock-gpu-clocks={mhz},{mhz} locks it (as root; --reset-gpu-clocks undoes it)"


class GpuWatch:
    """Watches one GPU from its making until `end`.

    Args:
        device: the CUDA device.
        module: `pynvml`, or a stand-in; None imports it.
        uuid: the device's UUID as torch gives it; None asks torch.
        now: seconds on any clock that only runs forwards.
        unix: seconds since 1970, NVML's clock of samples.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        module: Any = None,
        uuid: str | None = None,
        now: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self._now = now
        self._begin_unix_s = unix()
        gpu = find_gpu(device, module=module, uuid=uuid)
        self._gpu = None if isinstance(gpu, str) else gpu
        self.before = GpuReading(missing={"nvml": gpu}) if isinstance(gpu, str) else gpu.read()
        self._clocks: list[int] = []
        self._reasons: dict[str, None] = {}
        self._counted = self._counters()
        self._begin_s = self._looked_s = now()

    def beside(self, progress: Progress) -> Progress:
        """A progress that looks at the GPU whenever it is called and a look is due.

        Args:
            progress: is called as before.
        """

        def look_and_tell(done: float, text: str) -> None:
            if self._now() - self._looked_s >= LOOK_EVERY_S:
                self.look()
                self._looked_s = self._now()
            progress(done, text)

        return look_and_tell

    def look(self) -> None:
        """Read clock and reasons now."""
        if self._gpu is None:
            return
        clock = self._gpu.clock_mhz()
        if clock is not None:
            self._clocks.append(clock)
        self._reasons |= dict.fromkeys(self._gpu.throttled() or [])

    def end(self) -> GpuUse:
        """What was seen. The GPU should have worked until just now."""
        gpu = self._gpu
        if gpu is None:
            return GpuUse(self.before, GpuReading(), missing=self.before.missing)
        try:
            if not self._clocks:
                self.look()
            passed_ns = max(self._now() - self._begin_s, 1e-9) * 1e9
            counted = self._counters()
            shares = {
                name: max(0, counted[name] - before) / passed_ns
                for name, before in self._counted.items()
                if name in counted
            }
            foreign = self._foreign(gpu)
            after = gpu.read()
            return GpuUse(
                self.before,
                after,
                throttled=self._throttled(shares, after),
                throttled_share=shares,
                foreign=foreign,
                clocks_mhz=(min(self._clocks), max(self._clocks)) if self._clocks else None,
                missing=dict(gpu.missing),
            )
        finally:
            gpu.nvml.nvmlShutdown()

    def _throttled(self, shares: Mapping[str, float], after: GpuReading) -> list[str] | None:
        """Reasons by the counters; those without a counter, by the looks."""
        if not shares and "gpu_throttle_reasons" not in after.state:
            return None
        counted = [_COUNTERS[name][0] for name, share in shares.items() if share > FEW_THROTTLED]
        return counted + [reason for reason in self._reasons if _COVERED.get(reason) not in shares]

    def _counters(self) -> dict[str, int]:
        """Nanoseconds of throttling since the driver was loaded, by the names of `_COUNTERS`; those that are told."""
        found = {}
        for name, (_, policy, counter) in _COUNTERS.items():
            value = None if self._gpu is None else _counter_ns(self._gpu, f"gpu_throttled_{name}", policy, counter)
            if value is not None:
                found[name] = value
        return found

    def _foreign(self, gpu: Gpu) -> int | None:
        """Processes beside this one that computed meanwhile; where that is not told, that hold a context.

        A context alone (a parent that trained and waits, a notebook) takes no time from a measurement.
        """
        since_us = int(self._begin_unix_s * 1e6)
        samples = gpu.ask("gpu_process_use", "nvmlDeviceGetProcessUtilization", since_us)
        busy = {sample.pid for sample in samples or [] if sample.smUtil > 0 and sample.timeStamp >= since_us}
        if not busy:
            return gpu.other_processes()
        if shares_pids(busy):
            return len(busy - {os.getpid()})
        # Numbered as outside this container; one of them is this process, which has computed all the time.
        return len(busy) - 1


def _counter_ns(gpu: Gpu, name: str, policy: int, counter: int) -> int | None:
    """One counter of throttled time."""
    status = gpu.ask(name, "nvmlDeviceGetViolationStatus", policy)
    if status is not None:
        return int(status.violationTime)
    values = gpu.ask(name, "nvmlDeviceGetFieldValues", [counter])
    if values is None or values[0].nvmlReturn != 0:
        return None
    gpu.missing.pop(name, None)
    return int(values[0].value.ullVal)
