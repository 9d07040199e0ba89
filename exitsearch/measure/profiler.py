"""Profiling a backbone and its candidate heads: counts, then times, then the verdict, in one document.

profile = profile_backbone(create_backbone("vit_tiny_patch16_224"), heads=["mlp_ee", "vit_ee"], threads=1)
profile.path_ms([(3, "mlp_ee")])
"""

from __future__ import annotations

import datetime
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from exitsearch.errors import InputError
from exitsearch.measure import memory
from exitsearch.measure.energy import NoMeter, find_meter, measure_energy
from exitsearch.measure.machine.fingerprint import fingerprint, is_channels_last, resolve_dtype
from exitsearch.measure.machine.gpu_watch import GpuUse, GpuWatch
from exitsearch.measure.machine.load import Load, Snapshot, load_average, usable_cores
from exitsearch.measure.macs.units import count_facts, count_units
from exitsearch.measure.preparation import Condition, check_batch_size, check_precision, made_ready
from exitsearch.measure.runtimes import Runtime, UnitKey
from exitsearch.measure.timing import statistics
from exitsearch.measure.timing.latency import Progress, measure_rounds, no_progress
from exitsearch.measure.timing.samples import Samples, UnitSamples
from exitsearch.measure.verdict import judge
from exitsearch.models.backbone import Backbone
from exitsearch.models.heads import fitting_exits
from exitsearch.specs.profile import (
    BatchCosts,
    Cost,
    Environment,
    HeadCost,
    PartCost,
    Profile,
    Scalar,
    SegmentCost,
    Verdict,
)
from exitsearch.specs.question.candidates import Candidates


def profile_backbone(
    backbone: Backbone,
    *,
    heads: Sequence[str] | None = None,
    placements: Sequence[int] | None = None,
    exits: Sequence[UnitKey] | None = None,
    device: str | torch.device = "cpu",
    dtype: str = "fp32",
    batch_size: int | Sequence[int] = 1,
    threads: int | None = None,
    runtime: str = "eager",
    precision: float = 0.02,
    max_seconds: float = 60.0,
    seed: int = 0,
    counts_only: bool = False,
    energy: bool = False,
    pause_ms: float = 0.0,
    progress: Progress | None = None,
) -> Profile:
    """Measure what every segment and every candidate head costs. The backbone is left as it is.

    Args:
        backbone: the model, cut at every placement; may be on the meta device when `counts_only`.
        heads: head types, with or without options; None takes every registered type. A head is measured at the
            placements that it fits.
        placements: placements where heads are measured; None means all. Every segment is measured anyhow.
        exits: exact (placement, head) pairs instead of `heads` and `placements`, as from `fitting_exits`.
        device: `cpu`, `cuda` or `cuda:N`.
        dtype: `fp32`, `bf16` or `fp16`; weights and inputs are cast.
        batch_size: inputs of one batch, from 1; several are measured one after the other, each with its own
            `max_seconds`.
        threads: threads that torch computes with on the CPU, from 1; None keeps torch's number. Restored after.
        runtime: how the units are executed: `eager`, `compile`, `cudagraph`, `onnxruntime` or `openvino`.
        precision: wanted half-width of each median's 95% interval over the median, above 0 and below 1.
        max_seconds: time for the measurement, above 0; warm-up and counts come on top.
        seed: of inputs, weights of the heads and the order of passes.
        counts_only: leave out the times; nothing is computed and no device is needed.
        energy: measure energies too, after the times, where a meter can be read; the profile says where not.
        pause_ms: for which the device rests before every pass, 0 to 60,000: where requests come one by one, as frames
            of a camera do, caches are cold and clocks low by then, and a small model's first exit takes twice as long.
        progress: called with the share of the work that is done, 0 to 1, and a text.

    Raises:
        InputError: an option out of range, or an unknown name.
        UnavailableError: the device is not there.
        UnsupportedError: a head fits no placement, or a unit cannot be counted.
    """
    say = progress or no_progress
    sizes = _batch_sizes(batch_size)
    check_precision(precision, max_seconds=max_seconds)
    element_bytes = resolve_dtype(dtype).itemsize
    if exits is None:
        exits = fitting_exits(backbone.placements, Candidates.of(heads=heads, placements=placements))
    keys = list(exits)
    condition = None
    if not counts_only:
        condition = Condition.resolve(
            device, dtype=dtype, threads=threads, runtime=runtime, seed=seed, pause_ms=pause_ms
        )
    counted = count_units(backbone, keys, say)
    identity: dict[str, Scalar] = {"device": "meta", "dtype": dtype, "batch_size": sizes[0], "runtime": "counts"}
    environment, batches = Environment(identity=identity), []
    for number, size in enumerate(sizes):
        counts = {key: c.cost_fields(element_bytes=element_bytes, batch_size=size) for key, c in counted.items()}
        measured = _Measured(verdict=Verdict(status="unmeasured"))
        if condition is not None:
            # Each batch size fills its own part of the bar.
            part = lambda done, text, n=number: say((n + done) / len(sizes), text)  # noqa: E731
            kinds = {key: (key[1] if key in keys else key[0], str(fields)) for key, fields in counts.items()}
            measured = _measure(backbone, keys, condition, size, precision, max_seconds, part)
            if energy:
                _add_energy(measured, backbone, keys, condition, size, kinds, part)
            if number == 0:
                environment = measured.environment
        batches.append(_document_fields(backbone, keys, counts, measured, count_facts(counted)))
    return Profile(
        schema_version=Profile.current_version,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        backbone=backbone.facts,
        placements=list(backbone.placements),
        environment=environment,
        **{key: value for key, value in batches[0].items() if key != "state"},
        batches=[BatchCosts(batch_size=size, **fields) for size, fields in zip(sizes[1:], batches[1:], strict=True)],
    )


@dataclass
class _Measured:
    """What one batch size gave beyond its counts; nothing but the verdict where only operations are counted."""

    verdict: Verdict
    environment: Environment = field(default_factory=Environment)
    protocol: dict[str, Scalar] = field(default_factory=dict)
    samples: Samples | None = None
    # Measured once for each unit, by the keys of `count_units` and ("whole", 0).
    scratch_bytes: Mapping[Any, int] = field(default_factory=dict)
    energy_mj: Mapping[Any, float] = field(default_factory=dict)


def _measure(
    backbone: Backbone,
    keys: Sequence[UnitKey],
    condition: Condition,
    batch_size: int,
    precision: float,
    max_seconds: float,
    say: Progress,
) -> _Measured:
    """Run the protocol with one batch size."""
    where, on_gpu = condition.device, condition.device.type == "cuda"
    say(0.0, f"making ready for batches of {batch_size}")
    with made_ready(backbone, keys, condition, batch_size=batch_size) as ready:
        watch = GpuWatch(where) if on_gpu else None
        environment = fingerprint(
            where,
            dtype=condition.dtype,
            batch_size=batch_size,
            input_size=backbone.input_size,
            side_inputs=backbone.side_inputs,
            threads=ready.threads,
            runtime=condition.runtime.name,
            channels_last=is_channels_last(backbone.module),
            keeps_memory=ready.keeps_memory,
            gpu=watch.before if watch else None,
            pause_ms=condition.pause_ms,
        )
        clock = condition.clock()
        memory.reset_device_peak(where)
        before = Snapshot.take()
        samples = measure_rounds(
            ready.runtime,
            ready.inputs,
            clock,
            precision=precision,
            max_seconds=max_seconds,
            seed=condition.seed,
            progress=watch.beside(say) if watch else say,
        )
        gpu = watch.end() if watch else None
        load = Load.between(
            before, Snapshot.take(), cores=usable_cores(), load_average=load_average(), rested_s=clock.rested_s
        )
        protocol = dict(ready.runtime.preparation)
        protocol |= _time_facts(samples, precision, max_seconds, condition.seed, clock.name, where)
        measured = _Measured(
            verdict=judge(
                samples,
                load,
                threads=ready.threads,
                on_cpu=not on_gpu,
                cuts_are_free=condition.runtime.cuts_are_free,
                gpu=gpu,
            ),
            environment=_with_load(environment, ready.runtime, load, gpu),
            protocol=protocol,
            samples=samples,
        )
        if on_gpu and condition.runtime.allocates:
            measured.scratch_bytes = memory.unit_scratch_bytes(ready.runtime, ready.inputs[0], where)
    return measured


def _add_energy(
    measured: _Measured,
    backbone: Backbone,
    keys: Sequence[UnitKey],
    condition: Condition,
    batch_size: int,
    kinds: Mapping[Any, Hashable],
    say: Progress,
) -> None:
    """Measure energies where there is a meter; say why where there is none."""
    meter = find_meter(condition.device)
    if isinstance(meter, NoMeter):
        # Nothing has to be made ready (compiled, exported) to say so.
        measured.protocol["energy"] = f"not available: {meter.reason}"
        return
    wait = torch.cuda.synchronize if condition.device.type == "cuda" else (lambda: None)
    with made_ready(backbone, keys, condition, batch_size=batch_size) as ready:
        found = measure_energy(ready.runtime, ready.inputs[0], meter, kinds, synchronise=wait, progress=say)
    measured.energy_mj = found.energy_mj
    measured.protocol |= found.facts


def _document_fields(
    backbone: Backbone,
    keys: Sequence[UnitKey],
    counts: Mapping[Any, dict[str, Any]],
    measured: _Measured,
    facts: Mapping[str, Scalar],
) -> dict[str, Any]:
    """The fields that a profile and its further batch sizes have in common, and `state`."""
    samples = measured.samples
    at_median_speed = {id(unit): times for _, unit, times in samples.at_median_speed()} if samples else {}
    resumes = samples.resumes() if samples else [{}] * (len(backbone.placements) + 1)

    def cost(key: Any, unit: UnitSamples | None) -> dict[str, Any]:
        found = dict(counts.get(key, {}))
        if unit is not None:
            found |= _times(unit, at_median_speed[id(unit)])
        found["scratch_bytes"] = measured.scratch_bytes.get(key)
        found["energy_mj"] = measured.energy_mj.get(key)
        return found

    return {
        "state": measured.environment.state,
        "protocol": {**facts, **measured.protocol},
        "segments": [
            SegmentCost(
                placement=p.index,
                module=p.module,
                **resumes[p.index],
                **cost(("segment", p.index), samples.segments[p.index] if samples else None),
            )
            for p in sorted(backbone.placements, key=lambda p: p.index)
        ],
        "heads": [
            HeadCost(placement=key[0], head=key[1], **cost(key, samples.heads[key] if samples else None))
            for key in keys
        ],
        "final": PartCost(**resumes[-1], **cost(("final", 0), samples.final if samples else None)),
        "whole": Cost(**cost(("whole", 0), samples.whole)) if samples else None,
        "slowdown": samples.slowdown if samples else [],
        "verdict": measured.verdict,
    }


def _times(unit: UnitSamples, at_median_speed: NDArray[np.float64]) -> dict[str, Any]:
    """The measured fields of a `Cost`."""
    return {
        "latency_ms": statistics.median(at_median_speed),
        "interval_ms": statistics.median_interval(at_median_speed),
        # Nanoseconds are all that the clock knows; longer decimals would only swell the file.
        "samples_ms": [round(sample, 6) for sample in unit.host_ms],
        # Most units run in every round.
        "rounds": [] if unit.rounds == list(range(len(unit.rounds))) else unit.rounds,
        "device_ms": statistics.median(unit.device_ms) if unit.device_ms else None,
    }


def _time_facts(
    samples: Samples, precision: float, max_seconds: float, seed: int, clock: str, device: torch.device
) -> dict[str, Scalar]:
    """How the times were taken and what they say as a whole, for the profile's `protocol`."""
    whole = samples.whole.host_ms
    middle = statistics.median(whole)
    facts: dict[str, Scalar] = {
        "clock": clock,
        "rounds": samples.rounds,
        "seconds": round(samples.seconds, 3),
        "warm_up_seconds": round(samples.warm_up_s, 3),
        "precision": precision,
        "max_seconds": max_seconds,
        "seed": seed,
        "sum_over_whole": round(samples.parts_ms / middle, 5) if middle > 0 else None,
        "peak_rss_bytes": memory.peak_rss_bytes(),
        "peak_device_bytes": memory.device_peak_bytes(device),
    }
    facts |= {f"whole_p{percent}_ms": statistics.percentile(whole, percent) for percent in (90, 95, 99)}
    if samples.enqueue_ms:
        enqueue = statistics.median(samples.enqueue_ms)
        # Over 0.8 the device waits for the host, and a faster device would change little.
        facts |= {
            "enqueue_ms": round(enqueue, 6),
            "host_bound": enqueue > 0.8 * statistics.median(samples.whole.device_ms),
        }
    return facts


def _with_load(environment: Environment, runtime: Runtime, load: Load, gpu: GpuUse | None) -> Environment:
    """The environment with the runtime's facts, and how machine and GPU were during the measurement."""
    state = {**environment.state, **load.facts(), **(gpu.facts() if gpu else {})}
    return Environment(identity={**environment.identity, **runtime.identity}, soft=environment.soft, state=state)


def _batch_sizes(batch_size: int | Sequence[int]) -> list[int]:
    sizes = [batch_size] if isinstance(batch_size, int) else list(batch_size)
    for size in sizes:
        check_batch_size(size)
    if not sizes or len(set(sizes)) < len(sizes):
        raise InputError(f"--batch-size names each batch size once, found {sizes}; leave out what stands there twice")
    return sizes
