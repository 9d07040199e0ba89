"""How long a bundle's graphs take in an engine, measured merged, or summed up from a profile.

Bundles that `exitsearch.runtime` runs are measured while it answers (`answering.py`); here are those of other engines.
Measured by the protocol of `measure/timing/latency.py`: rounds of whole passes, heads in place at a random share of the
exits, the plain backbone in the same engine as the yardstick. Where every head on the way is run (`interruptible`,
`confidence`), the times of a segment are those behind a head, whose weights then fill the caches; under `contract`
only one head runs, at the end.

A profile has a time for every placement. Their sum is more than the merged graph takes, which hands nothing over at
the placements between two chosen exits: 1.05 times for vit_small, 1.2 times for resnet50.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from exitsearch.errors import InputError
from exitsearch.measure.machine.load import Load, Snapshot, load_average, usable_cores
from exitsearch.measure.machine.processor import cpu_name
from exitsearch.measure.runtimes.base import Runtime, UnitKey
from exitsearch.measure.timing import statistics
from exitsearch.measure.timing.clock import Clock, HostClock
from exitsearch.measure.timing.latency import measure_rounds, unsettled_units
from exitsearch.measure.timing.samples import UnitSamples
from exitsearch.measure.verdict import judge
from exitsearch.specs.bundle import BundleLatency, Quantiles
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.request import Policy
from exitsearch.specs.verdict import Verdict

Progress = Callable[[float, str], None]

# Wanted half-width of the medians' intervals, by which the verdict judges.
PRECISION = 0.02
# Samples of the slow-down that a bundle carries: enough for its 99th percentile several times over.
_MOST_SLOW_DOWNS = 2000


@dataclass(frozen=True)
class Timed:
    """Times of a bundle.

    Attributes:
        latency: for its manifest.
        facts: where they come from, for its `profile`.
        warning: what should be known of them, as a sentence; None: nothing.
    """

    latency: BundleLatency
    facts: dict[str, Any]
    warning: str | None = None


def measure_graphs(
    runtime: Runtime,
    keys: Sequence[UnitKey],
    inputs: Sequence[Any],
    *,
    batch_size: int = 1,
    policy: Policy,
    threads: int,
    max_seconds: float,
    seed: int,
    progress: Progress,
    clock: Clock | None = None,
) -> Timed:
    """Measure every segment and head in place.

    Args:
        runtime: the fused segments, and one head for each chosen exit.
        keys: the heads in order.
        inputs: batches, as the runtime takes them.
        batch_size: inputs in each.
        policy: decides whether segments follow heads.
        threads: that the runtime was made ready with.
        max_seconds: for the measurement; all of it is used, since tails need samples.
        seed: of the order.
        clock: of the device that the graphs run on; None: the host's.
    """
    clock = clock or HostClock()
    before = Snapshot.take()
    # No precision is enough to stop early: the 99th percentile wants 299 samples.
    samples = measure_rounds(
        runtime, list(inputs), clock, precision=0.0, max_seconds=max_seconds, seed=seed, progress=progress
    )
    load = Load.between(before, Snapshot.take(), cores=usable_cores(), load_average=load_average())
    samples.unsettled = unsettled_units(samples, PRECISION)
    verdict = judge(samples, load, threads=threads, on_cpu=not clock.marks_cost, cuts_are_free=runtime.cuts_are_free)
    at_median_speed = {id(unit): times for _, unit, times in samples.at_median_speed()}

    def quantiles(unit: UnitSamples) -> Quantiles:
        return quantiles_of(unit.host_ms, median=statistics.median(at_median_speed[id(unit)]))

    parts = [*samples.segments, samples.final]
    if policy != "contract":
        parts = [samples.resumed.get(number, unit) for number, unit in enumerate(parts)]
    latency = BundleLatency(
        batch_size=batch_size,
        threads=threads,
        segments=[quantiles(unit) for unit in parts],
        heads=[quantiles(samples.heads[key]) for key in keys],
        slow_down=slow_downs_of(samples.slowdown),
    )
    facts = {
        **facts_of(dict(runtime.identity), rounds=samples.rounds, verdict=verdict, load=load),
        "whole_ms": round(statistics.median(samples.whole.host_ms), 6),
        "fewest_samples": min(len(unit.host_ms) for unit in (*parts, *samples.heads.values())),
    }
    return Timed(latency, facts, warning_of(verdict))


def facts_of(engine: Mapping[str, Any], *, rounds: int, verdict: Verdict, load: Load) -> dict[str, Any]:
    """Where measured times come from."""
    return {
        "source": "measured",
        "engine": dict(engine),
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "rounds": rounds,
        "verdict": verdict.model_dump(mode="json"),
        "state": load.facts(),
    }


def warning_of(verdict: Verdict) -> str | None:
    """What a verdict says of times that are not quiet ones."""
    return None if verdict.status == "ok" else f"times are {verdict.status}: {verdict.reasons[0].what}"


def slow_downs_of(ratios: Sequence[float]) -> list[float]:
    """As many of them as a bundle carries."""
    return [round(ratio, 5) for ratio in ratios[-_MOST_SLOW_DOWNS:]]


def quantiles_of(samples_ms: Sequence[float], *, median: float | None = None) -> Quantiles:
    """The median, of the samples where it is not given, and percentiles of the samples as the clock read them.

    Of fewer than 29 or 299 samples, nothing sure is known of the 90th or the 99th percentile: then the largest stands.
    """
    median = statistics.median(samples_ms) if median is None else median
    largest = max(samples_ms)
    p90 = max(median, statistics.percentile(samples_ms, 90) or largest)
    p99 = max(p90, statistics.percentile(samples_ms, 99) or largest)
    return Quantiles(median=round(median, 6), p90=round(p90, 6), p99=round(p99, 6))


def sum_profile(profile: Profile, config: MultiExitConfig) -> Timed:
    """The times that a profile predicts, placement by placement; quantiles by its slow-down.

    Raises:
        InputError: it holds no times, or not those of the chosen heads.
    """
    identity = profile.environment.identity
    batch, threads = profile.batch_sizes[0] or 1, identity.get("threads")
    full_ms = profile.full_ms
    tail = [max(1.0, float(np.quantile(profile.slowdown, q))) if profile.slowdown else 1.0 for q in (0.9, 0.99)]

    def quantiles(median: float) -> Quantiles:
        return Quantiles(median=median, p90=median * tail[0], p99=median * max(tail))

    arrival, resume = profile.arrival_ms, profile.resume_ms
    segments, begin, late = [], 0.0, 0.0
    for exit_ in config.exits:
        segments.append(quantiles(float(arrival[exit_.placement]) - begin + late))
        begin = float(arrival[exit_.placement])
        late = float(resume[exit_.placement]) if config.policy != "contract" else 0.0
    segments.append(quantiles(full_ms - begin + late))
    latency = BundleLatency(
        batch_size=batch,
        threads=threads if isinstance(threads, int) else 1,
        segments=segments,
        heads=[quantiles(profile.head_ms(exit_.placement, str(exit_.choice))) for exit_ in config.exits],
        slow_down=slow_downs_of(profile.slowdown),
    )
    facts = {"source": "profile", "identity": profile.identity, "condition": profile.condition()}
    warning = (
        "times are the profile's, summed over placements: the merged graphs take less (1.05 to 1.2 times less where it "
        "was measured), so that answers are predicted too late; leave out --no-measure on the device itself"
    )
    return Timed(latency, facts, warning)


def check_profile(profile: Profile, config: MultiExitConfig) -> None:
    """Whether a profile is that of a configuration's backbone.

    Raises:
        MismatchError: it is of another.
        InputError: it has fewer placements.
    """
    config.backbone.check_same(profile.backbone, mine="the configuration", others="the profile")
    beyond = [exit_.placement for exit_ in config.exits if exit_.placement >= len(profile.segments)]
    if beyond:
        raise InputError(
            f"the profile has placements 0 to {len(profile.segments) - 1}, the configuration an exit at {beyond[0]}; "
            "give the profile that it was chosen with (--profile)"
        )
