"""Energy of every unit, from the device's own meter.

    idle          |---- sleep ----|
    unit, 3 times |- cool down -|- run, run -|------ run, run, run, ... for seconds ------|
    meter         ......^.............^......^......^......^......^......^......^......^......^...
                                             begin                                        end: both on a tick

Meters are slow (NVML's moves every 20 to 100 ms) and never see one pass. So each unit runs alone for a window of
seconds, again and again on the same input, and the median of three windows counts. A window begins and ends when the
counter has just moved, with the unit running before and after: otherwise up to a tick of idling or of another window
would be counted at either end. A head's run includes its decision, as its latency does. Units of equal kind and counts
share one measurement. What the meter shows is everything on the device: idle power is part of it and recorded beside
it. That units alone add up to the whole is checked by measuring the whole too.
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

from exitsearch.measure.machine.nvml import open_gpu
from exitsearch.measure.runtimes.base import Runtime, UnitKey, heads_by_placement
from exitsearch.measure.timing import statistics
from exitsearch.measure.timing.latency import Progress, no_progress
from exitsearch.specs.profile import Scalar

WINDOW_S = 2.0
COOL_DOWN_S = 0.5
WINDOWS = 3
# Time between two looks at the host's clock inside a window, so that the device's queue stays short, and between two
# readings of the meter near a window's ends: a thousandth of a window.
_BURST_S = 0.02
_FINE_BURST_S = 0.002
# A counter that stands still for so long while something runs will not move.
LONGEST_TICK_S = 1.0


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
    by_kind: dict[Hashable, float] = {}
    try:
        idle_w = _idle_w(meter, now, sleep, window_s)
        with torch.inference_mode():
            for number, (kind, key) in enumerate(chosen.items()):
                progress(number / len(chosen), f"measuring energy, {number} of {len(chosen)} kinds of units")
                unit, argument = units[key]
                windows = []
                for _ in range(WINDOWS):
                    sleep(COOL_DOWN_S)
                    bursts = _Bursts(functools.partial(unit, argument), synchronise, now)
                    windows.append(_window(bursts, meter, now, window_s))
                by_kind[kind] = statistics.median(windows)
    except _StandsStill:
        return Energies(facts={"energy": f"not available: {meter.name}'s counter does not move"})
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
                found[key] = (_decided(runtime, key), runtime.features(state))
    found["final", 0] = (runtime.final, state)
    found["whole", 0] = (runtime.whole, x)
    return found


def _decided(runtime: Runtime, key: UnitKey) -> Callable[[Any], object]:
    """A head with its decision."""
    head = runtime.heads[key]
    return lambda features: runtime.decide(head(features))


class _StandsStill(Exception):
    """A meter that does not move."""


class _Bursts:
    """Runs of one unit, back to back, the device idle after each burst.

    Attributes:
        runs: made so far.
    """

    def __init__(self, run: Callable[[], Any], synchronise: Callable[[], None], now: Callable[[], float]) -> None:
        self._run, self._synchronise, self._now = run, synchronise, now
        self._run_s = 0.0
        self.runs = 0
        # The first run alone may have to make something ready.
        for _ in range(2):
            self.go(0.0)

    def go(self, seconds: float) -> None:
        """As many runs as take about so long, one at least."""
        count = max(1, round(seconds / self._run_s)) if self._run_s > 0 else 1
        begin = self._now()
        for _ in range(count):
            self._run()
        self._synchronise()
        self._run_s = (self._now() - begin) / count
        self.runs += count


def _window(bursts: _Bursts, meter: Meter, now: Callable[[], float], window_s: float) -> float:
    """Millijoules of one run, from a window of them."""
    before = _next_tick(meter, bursts.go, now)
    begin, runs = now(), bursts.runs
    while bursts.runs == runs or now() - begin < window_s:
        bursts.go(_BURST_S)
    return (_next_tick(meter, bursts.go, now) - before) / (bursts.runs - runs)


def _idle_w(meter: Meter, now: Callable[[], float], sleep: Callable[[float], None], window_s: float) -> float:
    """Power while nothing runs."""
    before, begin = _next_tick(meter, sleep, now), now()
    sleep(window_s)
    after = _next_tick(meter, sleep, now)
    return (after - before) / (now() - begin) / 1e3


def _next_tick(meter: Meter, spend: Callable[[float], object], now: Callable[[], float]) -> float:
    """The meter's reading when it has just moved.

    Args:
        meter: what to read.
        spend: what goes on meanwhile, for about so many seconds a call.
        now: seconds.

    Raises:
        _StandsStill: it did not move in `LONGEST_TICK_S`.
    """
    begin, old = now(), meter.read_mj()
    while (reading := meter.read_mj()) == old:
        if now() - begin > LONGEST_TICK_S:
            raise _StandsStill
        spend(_FINE_BURST_S)
    return reading
