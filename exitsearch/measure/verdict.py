"""The verdict: whether the times of a measurement can be believed, what disturbed them, and what to do about it.

Every rule compares one number with two limits. Beyond the first the times are `noisy` (usable, with doubt), beyond the
second `invalid` (they describe the disturbance). The limits are relative, as in pyperf, and were set from runs on a
2-core machine: quiet ones stay below half of the first limit, one busy neighbour goes beyond the second.

What could not be read cannot accuse anybody, and cannot acquit either: the verdict names it (`not_checked`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from exitsearch.measure.machine.gpu_watch import GpuUse
from exitsearch.measure.machine.load import Load
from exitsearch.measure.timing import statistics
from exitsearch.measure.timing.samples import Samples
from exitsearch.specs.verdict import Reason, Verdict


@dataclass(frozen=True)
class Rule:
    """One disturbance: its number is compared with two limits, None meaning that it never goes so far."""

    what: str
    noisy_above: float
    invalid_above: float | None
    remedy: str


CONTENTION = Rule(
    "contention: time that our threads, all together, waited for a core, over the time measured",
    0.03,
    0.25,
    "end other programs, or measure with fewer --threads",
)
STARVED = Rule(
    "contention: share of one thread's wall time without processor time",
    0.05,
    0.30,
    "end other programs; this process did not get the core that it needs",
)
NEIGHBOURS = Rule(
    "contention: cores kept busy by other processes beyond those we leave free",
    0.25,
    1.0,
    "end other programs, or measure with fewer --threads",
)
STEAL = Rule(
    "steal: share of the time that the hypervisor gave to other machines",
    0.03,
    0.25,
    "measure at another hour or on a machine of your own",
)
DRIFT = Rule(
    "drift: change of the plain backbone's median from the first half of the run to the second",
    0.03,
    0.25,
    "let the machine settle (temperature, background work) and measure again",
)
SPREAD = Rule(
    "spread: interquartile range over median of the plain backbone",
    0.10,
    0.50,
    "end other programs, fix the clocks, and measure again",
)
SUM = Rule(
    "parts: sum of segments and final against the whole backbone, relative difference",
    0.05,
    0.25,
    "measure again with a higher --max-seconds; if it stays, predicted paths are off by about as much",
)
THROTTLED = Rule(
    "throttling: reasons for which the GPU lowered its clocks",
    0,
    None,
    "cool the GPU, raise its power limit, or fix lower clocks",
)
SHARED_GPU = Rule(
    "sharing: other processes that computed on the GPU meanwhile", 0, None, "end them or choose another GPU"
)
WIDE = Rule(
    "precision: units whose median is not known to the asked precision",
    0,
    None,
    "give more time with --max-seconds, or ask for less with --precision",
)


def judge(
    samples: Samples,
    load: Load,
    *,
    threads: int,
    on_cpu: bool = True,
    cuts_are_free: bool = True,
    gpu: GpuUse | None = None,
) -> Verdict:
    """Judge a run of the protocol.

    Args:
        samples: what was measured.
        load: how busy the machine was meanwhile.
        threads: threads that torch computes with on the CPU.
        on_cpu: whether the units ran on the CPU; where they did not, one thread hands over their work.
        cuts_are_free: whether the sum of the parts must be the plain backbone's time (see `Runtime`).
        gpu: how the GPU was meanwhile; None where the units ran on the CPU.
    """
    whole = samples.whole.host_ms
    middle = statistics.median(whole)
    cores = threads if on_cpu else 1
    found: list[tuple[Rule, float | None]] = [
        (CONTENTION, load.queued_share),
        # Several threads wait for each other without using processor time, and so does a host for its GPU; only one
        # thread on the CPU must be at work all the time.
        (STARVED, 1 - load.cpu_share if on_cpu and threads == 1 else None),
        (NEIGHBOURS, None if load.others_cores is None else load.others_cores - max(0, load.cores - cores)),
        (STEAL, load.stolen_share),
        (DRIFT, abs(statistics.drift(whole))),
        (SPREAD, statistics.spread(whole)),
        (SUM, abs(samples.parts_ms / middle - 1) if middle > 0 and cuts_are_free else None),
        (THROTTLED, None if gpu is None or gpu.throttled is None else len(gpu.throttled)),
        (SHARED_GPU, None if gpu is None else gpu.foreign),
        (WIDE, len(samples.unsettled)),
    ]
    status: Literal["ok", "noisy", "invalid"] = "ok"
    reasons = []
    for rule, number in found:
        if number is None or number <= rule.noisy_above:
            continue
        if rule.invalid_above is not None and number > rule.invalid_above:
            status = "invalid"
        elif status == "ok":
            status = "noisy"
        reasons.append(Reason(what=rule.what, number=round(float(number), 4), remedy=_remedy(rule, samples, gpu)))
    return Verdict(status=status, reasons=reasons, not_checked=_not_checked(load, gpu))


def _not_checked(load: Load, gpu: GpuUse | None) -> list[str]:
    """Rules whose counter could not be read, in words."""
    found = {
        "contention (waits for a core)": load.queued_share is None,
        "contention (cores kept busy by others)": load.others_cores is None,
        "steal": load.stolen_share is None,
        "throttling of the GPU": gpu is not None and gpu.throttled is None,
        "other processes on the GPU": gpu is not None and gpu.foreign is None,
    }
    return [what for what, is_missing in found.items() if is_missing]


def _remedy(rule: Rule, samples: Samples, gpu: GpuUse | None) -> str:
    if rule is WIDE:
        worst = max(samples.unsettled, key=lambda name: samples.unsettled[name])
        return f"{rule.remedy} (the widest: {worst}, {samples.unsettled[worst]:.2g} times as wide as asked)"
    if rule is THROTTLED and gpu is not None:
        return f"{rule.remedy} ({', '.join(gpu.throttled or [])})"
    if rule in (DRIFT, SPREAD) and gpu is not None and gpu.clocks_mhz is not None:
        return f"{rule.remedy} (the GPU's clock: {gpu.clocks})"
    return rule.remedy
