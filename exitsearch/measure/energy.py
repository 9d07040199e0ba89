"""Energy of every unit, from the device's own meter.

    idle          |---- sleep ----|
    unit, 3 times |- cool down -|------ run, run, run, ... for seconds ------|
                                ^ meter                                     ^ meter

Meters are slow (NVML's moves every 100 ms or so) and never see one pass. So each unit runs alone for a window of
seconds, again and again on the same input, and the median of three windows counts. Units of equal kind and counts share
one measurement. What the meter shows is everything on the device: idle power is part of it and recorded beside it. That
units alone add up to the whole is checked by measuring the whole too.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import torch

from exitsearch.measure import statistics
from exitsearch.measure.latency import Progress, no_progress
from exitsearch.measure.nvml import open_gpu
from exitsearch.measure.runtimes.base import Runtime, heads_by_placement
from exitsearch.specs.profile import Scalar

WINDOW_S = 2.0
COOL_DOWN_S = 0.5
WINDOWS = 3
# Time between two looks at the host's clock inside a window, so that the device's queue stays short.
_BURST_S = 0.02


class Meter(Protocol):
    """An energy counter that only runs forwards."""

    name: str

    def read_mj(self) -> float:
        """Millijoules since any fixed moment."""


@dataclass(frozen=True)
class NoMeter:
    """There is no meter, and why."""

    reason: str


class RaplMeter:
    """The processor packages' counters in /sys/class/powercap (RAPL, on Intel and AMD).

    Args:
        folders: one `intel-rapl:N` folder for each package.
    """

    name = "rapl"

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._range_uj = [int((folder / "max_energy_range_uj").read_text()) for folder in folders]
        self._last_uj = self._now_uj()
        self._wrapped_uj = 0

    def read_mj(self) -> float:
        """Millijoules of all packages; counters that have wrapped around since the last reading go on."""
        now = self._now_uj()
        for before, after, span in zip(self._last_uj, now, self._range_uj, strict=True):
            self._wrapped_uj += span if after < before else 0
        self._last_uj = now
        return (sum(now) + self._wrapped_uj) / 1e3

    def _now_uj(self) -> list[int]:
        return [int((folder / "energy_uj").read_text()) for folder in self._folders]


class NvmlMeter:
    """A GPU's total energy counter.

    Args:
        nvml: `pynvml`, initialised.
        handle: the GPU.
    """

    name = "nvml"

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle

    def read_mj(self) -> float:
        """Millijoules since the driver was loaded."""
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))


def find_meter(device: torch.device, *, powercap: Path = Path("/sys/class/powercap")) -> Meter | NoMeter:
    """The meter of a device, or why there is none.

    Args:
        device: the CPU or a CUDA device.
        powercap: where the kernel shows RAPL.
    """
    if device.type == "cuda":
        return _nvml_meter(device)
    folders = sorted(folder for folder in powercap.glob("intel-rapl:*") if folder.name.count(":") == 1)
    if not folders:
        return NoMeter(f"the kernel shows no RAPL counters in {powercap} (virtual machines seldom do)")
    try:
        return RaplMeter(folders)
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        return NoMeter(f"the RAPL counters in {powercap} cannot be read ({cause}); they may need root")


def _nvml_meter(device: torch.device) -> Meter | NoMeter:
    try:
        nvml = import_module("pynvml")
    except ImportError as error:
        return NoMeter(f"the package nvidia-ml-py is not installed ({error})")
    try:
        nvml.nvmlInit()
        meter = NvmlMeter(nvml, open_gpu(nvml, device))
        meter.read_mj()
    except nvml.NVMLError as error:
        return NoMeter(f"NVML does not tell ({error})")
    return meter


@dataclass(frozen=True)
class Energies:
    """What was measured.

    Attributes:
        energy_mj: millijoules of one run for one batch, by ("segment", k), ("final", 0), ("whole", 0) and
            (placement, head).
        facts: for the profile's `protocol`.
    """

    energy_mj: dict[Any, float] = field(default_factory=dict)
    facts: dict[str, Scalar] = field(default_factory=dict)


def measure_energy(
    runtime: Runtime,
    x: Any,
    meter: Meter,
    kinds: Mapping[Any, Hashable],
    *,
    synchronise: Callable[[], None] = lambda: None,
    now: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
    window_s: float = WINDOW_S,
    progress: Progress = no_progress,
) -> Energies:
    """Measure every kind of unit, and idling.

    Args:
        runtime: the units.
        x: one batch.
        meter: what to read.
        kinds: what each unit is (its counts, say), by the keys of `Energies`; units of one kind share a measurement.
            A unit without an entry is a kind of its own.
        synchronise: waits until the device is idle.
        now: seconds.
        sleep: waits for seconds.
        window_s: length of a window, above 0.
        progress: called with the share of the work that is done, 0 to 1, and a text.
    """
    units = _units(runtime, x)
    chosen = {kinds.get(key, key): key for key in reversed(units)}
    progress(0.0, "measuring idle power")
    sleep(COOL_DOWN_S)
    begin, before = now(), meter.read_mj()
    sleep(window_s)
    idle_w = (meter.read_mj() - before) / (now() - begin) / 1e3
    by_kind: dict[Hashable, float] = {}
    with torch.inference_mode():
        for number, (kind, key) in enumerate(chosen.items()):
            progress(number / len(chosen), f"measuring energy, {number} of {len(chosen)} kinds of units")
            unit, argument = units[key]
            run = functools.partial(unit, argument)
            windows = []
            for _ in range(WINDOWS):
                sleep(COOL_DOWN_S)
                windows.append(_window(run, meter, synchronise, now, window_s))
            by_kind[kind] = statistics.median(windows)
    energies = {key: by_kind[kinds.get(key, key)] for key in units}
    parts = sum(energy for key, energy in energies.items() if key[0] in ("segment", "final"))
    whole = energies["whole", 0]
    return Energies(
        energies,
        {
            "energy": f"{meter.name}, idle power included",
            "idle_power_w": round(idle_w, 3),
            "energy_window_s": window_s,
            "energy_windows": WINDOWS,
            "energy_sum_over_whole": round(parts / whole, 5) if whole > 0 else None,
        },
    )


def _units(runtime: Runtime, x: Any) -> dict[Any, tuple[Callable[[Any], Any], Any]]:
    """Every unit with the input that it has in a pass."""
    placed = heads_by_placement(runtime.heads)
    found: dict[Any, tuple[Callable[[Any], Any], Any]] = {}
    with torch.inference_mode():
        state = runtime.begin(x)
        for placement, segment in enumerate(runtime.segments):
            found["segment", placement] = (segment, state)
            state = segment(state)
            for key in placed.get(placement, []):
                found[key] = (runtime.heads[key], runtime.features(state))
    found["final", 0] = (runtime.final, state)
    found["whole", 0] = (runtime.whole, x)
    return found


def _window(
    run: Callable[[], Any],
    meter: Meter,
    synchronise: Callable[[], None],
    now: Callable[[], float],
    window_s: float,
) -> float:
    """Millijoules of one run, from a window of them."""
    run()
    synchronise()
    burst, runs = 1, 0
    begin, before = now(), meter.read_mj()
    while (passed := now() - begin) < window_s:
        for _ in range(burst):
            run()
        synchronise()
        runs += burst
        per_run = (now() - begin - passed) / burst
        burst = max(1, round(_BURST_S / per_run)) if per_run > 0 else burst
    return (meter.read_mj() - before) / runs
