"""What everything else rests on: the machine's facts, the clock, and the meter of energy."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from cuda_steps.step import Bench, Skipped, Step
from exitsearch.measure.machine.fingerprint import describe_machine, resolve_device
from exitsearch.measure.machine.gpu_watch import GpuWatch
from exitsearch.measure.profiler import profile_backbone
from exitsearch.measure.runtimes import Runtime
from exitsearch.measure.timing.clock import clock_for
from exitsearch.measure.timing.latency import measure_rounds
from exitsearch.measure.timing.statistics import median

# Times of the clock's units over the first one's.
SHAPE = (1, 2, 4)
# Cycles of the first unit: 25 us to 0.25 ms at 2 GHz, as small as a block of a small model and as large.
CYCLES = (50_000, 500_000)


def environment(bench: Bench) -> None:
    """The machine, and what its driver tells."""
    bench.figures |= describe_machine()
    bench.figures["arch_list"] = torch.cuda.get_arch_list()
    where = resolve_device(bench.device)
    if where.type != "cuda":
        return
    watch = GpuWatch(where)
    block = torch.randn(4096, 4096, device=where)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        block @ block
        torch.cuda.synchronize(where)
        watch.look()
    use = watch.end()
    bench.figures["watched"] = {**use.facts(), "throttled": use.throttled}
    bench.require("nvml" not in use.missing, f"NVML does not tell of the GPU: {use.missing.get('nvml')}")
    bench.require(use.clocks_mhz is not None, "the GPU's clock cannot be read")


class SleepRuntime(Runtime):
    """Units that do nothing for known times.

    Args:
        sleep: does nothing for as many units of time as it is told.
    """

    name = "sleep"
    summary = "nothing, for known times"

    def __init__(self, sleep: Callable[[int], None]) -> None:
        def unit(parts: int) -> Callable[[Any], None]:
            return lambda _: sleep(parts)

        self.segments = [unit(parts) for parts in SHAPE[:-1]]
        self.heads: dict[Any, Any] = {}
        self.final, self.whole = unit(SHAPE[-1]), unit(sum(SHAPE))

    @classmethod
    def check(cls, device: torch.device, dtype: str) -> None:
        pass

    def begin(self, x: Any) -> Any:
        return x

    def features(self, state: Any) -> Any:
        return state

    def decide(self, outputs: Any) -> object:
        return outputs


def clock(bench: Bench) -> None:
    """Units of 1:2:4 must be measured as such, on every device, on its own stream and on another."""
    where = resolve_device(bench.device)
    if where.type != "cuda":
        judge(bench, "host", _measured(bench, where, _spin))
        return
    for index in range(torch.cuda.device_count()):
        one = torch.device("cuda", index)
        with torch.cuda.device(one):
            for cycles in CYCLES:
                sleep = functools.partial(_sleep, cycles)
                judge(bench, f"{one}, {cycles} cycles", _measured(bench, one, sleep))
                with torch.cuda.stream(torch.cuda.Stream(one)):  # type: ignore[no-untyped-call]
                    judge(bench, f"{one}, {cycles} cycles, another stream", _measured(bench, one, sleep))


def _sleep(cycles: int, parts: int) -> None:
    torch.cuda._sleep(parts * cycles)  # type: ignore[no-untyped-call]


def _spin(parts: int) -> None:
    end = time.perf_counter() + parts * 1e-4
    while time.perf_counter() < end:
        pass


@dataclass(frozen=True)
class Clocked:
    """What was measured of `SleepRuntime`.

    Attributes:
        parts_ms: medians of its parts, by whose clock it was.
        sum_ms: of the parts, as a profile adds them up.
        whole_ms: median of the whole.
        rounds: of the protocol.
    """

    parts_ms: dict[str, list[float]]
    sum_ms: float
    whole_ms: float
    rounds: int


def _measured(bench: Bench, device: torch.device, sleep: Callable[[int], None]) -> Clocked:
    samples = measure_rounds(
        SleepRuntime(sleep), ["x"], clock_for(device), precision=0.005, max_seconds=bench.seconds(4)
    )
    parts = [*samples.segments, samples.final]
    by_clock = {"host": [part.host_ms for part in parts], "device": [part.device_ms for part in parts]}
    return Clocked(
        {name: [median(times) for times in units] for name, units in by_clock.items() if all(units)},
        samples.parts_ms,
        median(samples.whole.host_ms),
        samples.rounds,
    )


def judge(bench: Bench, what: str, clocked: Clocked) -> None:
    """Each part must be its share of the sum, but for the launch and the event that come with it."""
    for name, found in clocked.parts_ms.items():
        shares = [sum(found) * parts / sum(SHAPE) for parts in SHAPE]
        # The host's first part begins with an idle device, so that it sees a whole launch.
        beside_ms = 0.004 if name == "device" else 0.03
        holds = all(abs(ms - share) <= 0.02 * share + beside_ms for ms, share in zip(found, shares, strict=True))
        bench.require_time(holds, f"{what}: units of 1:2:4 were measured as {found} ms by the {name}")
    total, whole = clocked.sum_ms, clocked.whole_ms
    holds = abs(total - whole) <= 0.03 * whole + 0.004 * len(SHAPE)
    bench.require_time(holds, f"{what}: the parts take {total:.4f} ms, the whole {whole:.4f} ms")
    bench.figures[what] = {**clocked.parts_ms, "sum_over_whole": total / whole, "rounds": clocked.rounds}


def energy(bench: Bench) -> None:
    """The parts' energies must add up to the whole's."""
    backbone = bench.backbone("vit_tiny_patch16_224")
    profile = profile_backbone(
        backbone,
        heads=["linear", "mlp"],
        placements=[0, len(backbone.placements) // 2],
        device=bench.device,
        max_seconds=bench.seconds(3),
        energy=True,
    )
    said = str(profile.protocol.get("energy"))
    if said.startswith("not available"):
        raise Skipped(f"energy: {said}")
    over = profile.protocol.get("energy_sum_over_whole")
    bench.figures |= {key: value for key, value in profile.protocol.items() if "energy" in key or "idle" in key}
    bench.figures["whole_mj"] = profile.whole.energy_mj if profile.whole else None
    bench.figures["heads_mj"] = {f"{head.placement} {head.head}": head.energy_mj for head in profile.heads}
    holds = isinstance(over, float) and 0.85 <= over <= 1.15
    bench.require_time(holds, f"the parts' energies are {over} of the whole's, 0.85 to 1.15 expected")


ENVIRONMENT = Step("environment", 20, environment)
CLOCK = Step("clock", 40, clock)
ENERGY = Step("energy", 110, energy)
