"""Whether the verdict accuses those who disturb and nobody else, and whether a second look gives the same times."""

from __future__ import annotations

import datetime
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from check_contention import busy_cores

from cuda_steps.step import Bench, Skipped, Step
from exitsearch.measure.compare import compare_profiles
from exitsearch.measure.guard import stale
from exitsearch.measure.machine.load import usable_cores
from exitsearch.measure.profiler import profile_backbone
from exitsearch.measure.timing.statistics import median
from exitsearch.specs.profile import Profile

MODEL = "vit_tiny_patch16_224"
PAUSE_S = 20.0
MEDIAN_UNIT = 0.03

# Says that it runs, then multiplies matrices without end; ends by itself if its parent is gone.
BUSY_GPU = """
import os, sys, torch
parent, device = os.getppid(), sys.argv[1]
block = torch.randn(4096, 4096, device=device)
(block @ block).sum().item()
print("busy", flush=True)
while os.getppid() == parent:
    for _ in range(20):
        block @ block
    torch.cuda.synchronize(device)
"""


def _profile(bench: Bench, *, seconds: float, seed: int = 0) -> Profile:
    return profile_backbone(
        bench.backbone(MODEL),
        heads=["linear"] if bench.quick else ["linear", "mlp_ee"],
        placements=[0] if bench.quick else None,
        device=bench.device,
        max_seconds=bench.seconds(seconds),
        seed=seed,
    )


def _accused(profile: Profile, word: str) -> bool:
    return any(reason.what.startswith(word) for reason in profile.verdict.reasons)


def busy_core(bench: Bench) -> None:
    """A neighbour on one core of several leaves a run on the GPU alone: the verdict must not name it."""
    bench.need_gpu()
    if usable_cores() < 3:
        raise Skipped("needs three cores: ours, the neighbour's, and one for everything else")
    with busy_cores(1):
        profile = _profile(bench, seconds=10)
    bench.figures |= {"verdict": str(profile.verdict), "others_cores": profile.environment.state.get("others_cores")}
    bench.require(not _accused(profile, "contention"), f"a busy core of many is accused: {profile.verdict}")


@contextmanager
def _busy_gpu(device: str) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", BUSY_GPU, device], stdout=subprocess.PIPE, text=True) as neighbour:
        try:
            assert neighbour.stdout is not None
            assert neighbour.stdout.readline() == "busy\n"
            yield
        finally:
            neighbour.kill()


def shared_gpu(bench: Bench) -> None:
    """A neighbour on the GPU: the verdict must say so while it is there, and not when it is gone."""
    bench.need_gpu()
    with _busy_gpu(bench.device):
        beside = _profile(bench, seconds=8)
    time.sleep(3)
    alone = _profile(bench, seconds=8)
    for name, profile in (("beside", beside), ("alone", alone)):
        state = profile.environment.state
        bench.figures[name] = {
            "verdict": str(profile.verdict),
            "whole_ms": profile.whole.latency_ms if profile.whole else None,
            "foreign": state.get("gpu_foreign_processes"),
            "not_read": {key: value for key, value in state.items() if key.startswith("not_read")},
        }
    bench.require(beside.verdict.status != "ok", "with a neighbour on the GPU the verdict is ok")
    bench.require(
        _accused(beside, "sharing") or "other processes on the GPU" in beside.verdict.not_checked,
        "the verdict neither names the neighbour on the GPU nor says that it could not look",
    )
    bench.require(not _accused(alone, "sharing"), f"without a neighbour the verdict names one: {alone.verdict}")


def guard(bench: Bench) -> None:
    """After a pause, in which a GPU cools and clocks down, the guard must still find the profile's times."""
    profile = _profile(bench, seconds=8)
    hours_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=2)
    profile = profile.model_copy(update={"created": hours_ago.isoformat(timespec="seconds")})
    if not bench.quick:
        time.sleep(PAUSE_S)
    begin = time.monotonic()
    said = stale(profile, seconds=bench.seconds(1))
    bench.figures |= {"said": said, "seconds": round(time.monotonic() - begin, 2), "verdict": str(profile.verdict)}
    bench.require_time(said is None, f"the guard says: {said}")


def repeatability(bench: Bench) -> None:
    """Two profiles one after the other."""
    first, second = (_profile(bench, seconds=15, seed=seed) for seed in (0, 1))
    found = compare_profiles(first, second)
    off = {unit.unit: abs(unit.ratio - 1) for unit in found.units[:-1]}
    bench.figures |= {
        "median_unit": median(list(off.values())),
        "worst_unit": max(off, key=lambda unit: off[unit]),
        "worst": max(off.values()),
        "sums": abs(found.in_all.ratio - 1),
        "verdicts": [str(first.verdict), str(second.verdict)],
    }
    middle = median(list(off.values()))
    bench.require_time(middle <= MEDIAN_UNIT, f"the median unit of two profiles differs by {middle:.1%}")


SHARED_GPU = Step("neighbour on the GPU", 60, shared_gpu)
BUSY_CORE = Step("neighbour on a core", 30, busy_core)
GUARD = Step("guard after a pause", 60, guard)
REPEATABILITY = Step("repeatability", 60, repeatability)
