"""Energies on a meter, a clock and units that only the tests move."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fake_units import FakeRuntime

from exitsearch.measure import energy
from exitsearch.measure.energy import NoMeter, NvmlMeter, RaplMeter, find_meter, measure_energy
from exitsearch.measure.profiler import profile_backbone
from exitsearch.models.backbone import create_backbone

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


class FakeMeter:
    """10 W all the time, and 40 W more while units run (time that passes in `runtime`, not in `sleep`)."""

    name = "fake"

    def __init__(self, runtime):
        self.runtime = runtime
        self.slept = 0.0

    def sleep(self, seconds):
        self.slept += seconds

    def now(self):
        return self.runtime.now_ns / 1e9 + self.slept

    def read_mj(self):
        busy = self.runtime.now_ns / 1e9
        return 1e3 * (10 * (busy + self.slept) + 40 * busy)


def test_energies_by_hand():
    """Segments of 2, 3 and 4 ms, final 1 ms, whole 10 ms; 50 W times each. Idle 10 W.

    The head takes 0.5 ms and its decision 0.25 ms, which belongs to it as in its latency.
    """
    runtime = FakeRuntime(heads={(1, "a"): 0.5})
    meter = FakeMeter(runtime)
    found = measure_energy(runtime, "x", meter, {}, now=meter.now, sleep=meter.sleep, window_s=0.5)
    assert found.energy_mj == {
        ("segment", 0): pytest.approx(100), ("segment", 1): pytest.approx(150), ("segment", 2): pytest.approx(200),
        (1, "a"): pytest.approx(37.5), ("final", 0): pytest.approx(50), ("whole", 0): pytest.approx(500),
    }  # fmt: skip
    assert found.facts["idle_power_w"] == pytest.approx(10)
    assert found.facts["energy_sum_over_whole"] == pytest.approx(1)
    assert found.facts["energy"] == "fake, idle power included"


def test_units_of_one_kind_share_a_measurement():
    """Segments 0 and 1 are said to be of one kind: both take what the first one took."""
    runtime = FakeRuntime()
    meter = FakeMeter(runtime)
    kinds = {("segment", 0): "block", ("segment", 1): "block"}
    found = measure_energy(runtime, "x", meter, kinds, now=meter.now, sleep=meter.sleep, window_s=0.5)
    assert found.energy_mj["segment", 0] == found.energy_mj["segment", 1] == pytest.approx(100)
    # Segment 1 ran once only, to hand its state on.
    assert sum(entry[:2] == ("segment", 1) for entry in runtime.log) == 1


class Ticking(FakeMeter):
    """The same power, shown by a counter that moves every 100 ms, as a GPU's does."""

    def read_mj(self):
        now = self.now()
        if not hasattr(self, "shown_at") or now - self.shown_at >= 0.1:
            self.shown, self.shown_at = super().read_mj(), now - now % 0.1 if now else now
            # What had been used up by the tick itself, not by the moment it is read.
            self.shown -= 1e3 * 50 * (now - self.shown_at) if self.running else 1e3 * 10 * (now - self.shown_at)
        return self.shown

    running = False


def test_windows_begin_and_end_on_a_tick_of_the_counter():
    """A counter that moves every 100 ms, a window of 0.33 s: cut anywhere it would be off by up to 30%.

    Each unit takes 50 W; runs that are in flight while the counter moves leave a fine burst of doubt (2 ms, 0.6%).
    """
    runtime = FakeRuntime(heads={(1, "a"): 0.5})
    meter = Ticking(runtime)

    def sleep(seconds):
        meter.running = False
        meter.sleep(seconds)

    def working():
        meter.running = True

    found = measure_energy(runtime, "x", meter, {}, synchronise=working, now=meter.now, sleep=sleep, window_s=0.33)
    by_hand = {("segment", 0): 100, ("segment", 1): 150, ("segment", 2): 200, (1, "a"): 37.5, ("final", 0): 50}
    for key, energy_mj in by_hand.items():
        assert found.energy_mj[key] == pytest.approx(energy_mj, rel=0.02), key
    assert found.facts["idle_power_w"] == pytest.approx(10, rel=0.02)
    assert found.facts["energy_sum_over_whole"] == pytest.approx(1, rel=0.02)


def test_a_counter_that_stands_still_is_not_available():
    runtime = FakeRuntime()
    meter = FakeMeter(runtime)
    meter.read_mj = lambda: 7.0
    found = measure_energy(runtime, "x", meter, {}, now=meter.now, sleep=meter.sleep, window_s=0.5)
    assert found.energy_mj == {}
    assert found.facts == {"energy": "not available: fake's counter does not move"}


def rapl(tmp_path, *, packages=2, energy_uj=1000):
    for index in range(packages):
        folder = tmp_path / f"intel-rapl:{index}"
        folder.mkdir()
        (folder / "energy_uj").write_text(f"{energy_uj}\n")
        (folder / "max_energy_range_uj").write_text("10000\n")
    # A zone inside a package, whose energy the package holds already.
    zone = tmp_path / "intel-rapl:0:0"
    zone.mkdir()
    (zone / "energy_uj").write_text("900\n")
    return tmp_path


def test_rapl_adds_packages_and_goes_on_when_a_counter_wraps(tmp_path):
    meter = find_meter(CPU, powercap=rapl(tmp_path))
    assert isinstance(meter, RaplMeter)
    assert meter.read_mj() == 2.0
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("400\n")
    # 1000 + 400 + the 10000 that were passed on the way.
    assert meter.read_mj() == pytest.approx(11.4)
    assert meter.read_mj() == pytest.approx(11.4)


def test_no_meter_says_why(tmp_path, monkeypatch):
    assert "no RAPL counters" in find_meter(CPU, powercap=tmp_path).reason
    folder = rapl(tmp_path, packages=1) / "intel-rapl:0"
    (folder / "energy_uj").unlink()
    assert "cannot be read (No such file or directory)" in find_meter(CPU, powercap=tmp_path).reason

    class FakeNvmlError(Exception):
        pass

    def no_library():
        raise FakeNvmlError("NVML Shared Library Not Found")

    monkeypatch.setattr(
        energy, "import_module", lambda name: SimpleNamespace(NVMLError=FakeNvmlError, nvmlInit=no_library)
    )
    assert find_meter(CUDA) == NoMeter("NVML does not tell (NVML Shared Library Not Found)")

    def missing(name):
        raise ImportError("no pynvml")

    monkeypatch.setattr(energy, "import_module", missing)
    assert "nvidia-ml-py is not installed" in find_meter(CUDA).reason


def test_nvml_counts_millijoules():
    nvml = SimpleNamespace(nvmlDeviceGetTotalEnergyConsumption=lambda handle: {"gpu": 1234}[handle])
    assert NvmlMeter(nvml, "gpu").read_mj() == 1234.0


def test_a_profile_says_why_it_has_no_energies(monkeypatch):
    monkeypatch.setattr("exitsearch.measure.profiler.find_meter", lambda device: NoMeter("no meter in this test"))
    profile = profile_backbone(
        create_backbone(pretrained=False), heads=["linear"], placements=[0], max_seconds=0.01, energy=True
    )
    assert profile.protocol["energy"] == "not available: no meter in this test"
    assert profile.final.energy_mj is None
    assert profile.whole.energy_mj is None


def test_a_profile_holds_energies(monkeypatch):
    class Clockwork:
        name = "clockwork"
        mj = 0.0

        def read_mj(self):
            self.mj += 5.0
            return self.mj

    monkeypatch.setattr("exitsearch.measure.profiler.find_meter", lambda device: Clockwork())
    quick = {"window_s": 0.001, "sleep": lambda seconds: None}
    monkeypatch.setattr(
        "exitsearch.measure.profiler.measure_energy",
        lambda *arguments, **options: measure_energy(*arguments, **{**options, **quick}),
    )
    profile = profile_backbone(
        create_backbone(pretrained=False), heads=["linear"], placements=[0, 3], max_seconds=0.01, energy=True
    )
    costs = (*profile.segments, *profile.heads, profile.final, profile.whole)
    assert all(cost.energy_mj > 0 for cost in costs)
    # Blocks alike share one measurement; the first holds the stem and is another kind.
    assert len({segment.energy_mj for segment in profile.segments[1:]}) == 1
    assert profile.heads[0].energy_mj == profile.heads[1].energy_mj
    assert profile.protocol["energy"].startswith("clockwork")
