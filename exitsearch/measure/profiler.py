"""Profiling a backbone and its candidate heads: counts, then times, then the verdict, in one document.

profile = profile_backbone(create_backbone("vit_tiny_patch16_224"), heads=["mlp_ee", "vit_ee"], threads=1)
profile.path_ms([(3, "mlp_ee")])
"""

from __future__ import annotations

import copy
import datetime
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from exitsearch.errors import InputError, UnsupportedError
from exitsearch.measure import macs, memory, statistics
from exitsearch.measure.clock import clock_for
from exitsearch.measure.latency import Progress, Samples, UnitSamples, measure_rounds, no_progress
from exitsearch.measure.load import Load, Snapshot, load_average, usable_cores
from exitsearch.measure.machine import fingerprint, resolve_device, resolve_dtype
from exitsearch.measure.nvml import GpuReading, read_gpu
from exitsearch.measure.paths import PathTimes, time_paths
from exitsearch.measure.runtimes import Runtime, UnitKey, find_runtime
from exitsearch.measure.verdict import judge
from exitsearch.models.backbone import Backbone
from exitsearch.models.heads import check_fits, create_head, list_heads
from exitsearch.specs.head import HeadChoice
from exitsearch.specs.profile import Cost, Environment, HeadCost, Profile, Scalar, SegmentCost, Verdict

# Different batches in turn, so that no run depends on one draw of the inputs.
_INPUT_COUNT = 4


def profile_backbone(
    backbone: Backbone,
    *,
    heads: Sequence[str] | None = None,
    placements: Sequence[int] | None = None,
    device: str | torch.device = "cpu",
    dtype: str = "fp32",
    batch_size: int = 1,
    threads: int | None = None,
    runtime: str = "eager",
    precision: float = 0.02,
    max_seconds: float = 60.0,
    seed: int = 0,
    counts_only: bool = False,
    progress: Progress | None = None,
) -> Profile:
    """Measure what every segment and every candidate head costs. The backbone is left as it is.

    Args:
        backbone: the model, cut at every placement; may be on the meta device when `counts_only`.
        heads: head types, with or without options; None takes every registered type. A head is measured at the
            placements that it fits.
        placements: placements where heads are measured; None means all. Every segment is measured anyhow.
        device: `cpu`, `cuda` or `cuda:N`.
        dtype: `fp32`, `bf16` or `fp16`; weights and inputs are cast.
        batch_size: inputs of one batch, from 1.
        threads: threads that torch computes with on the CPU, from 1; None keeps torch's number. Restored after.
        runtime: how the units are executed: `eager`, `compile`, `cudagraph` or `onnxruntime`.
        precision: wanted half-width of each median's 95% interval over the median, above 0 and below 1.
        max_seconds: time for the measurement, above 0; warm-up and counts come on top.
        seed: of inputs, weights of the heads and the order of passes.
        counts_only: leave out the times; nothing is computed and no device is needed.
        progress: called with the share of the work that is done, 0 to 1, and a text.

    Raises:
        InputError: an option out of range, or an unknown name.
        UnavailableError: the device is not there.
        UnsupportedError: a head fits no placement, or a unit cannot be counted.
    """
    say = progress or no_progress
    _check_range("--batch-size", batch_size, 1, 2**20)
    _check_precision(precision, max_seconds)
    element_bytes = resolve_dtype(dtype).itemsize
    keys = candidate_heads(backbone, heads, placements)
    made_runtime = find_runtime(runtime)
    where = None if counts_only else resolve_device(device)
    if where is not None:
        made_runtime.check(where, dtype)
    if threads is not None:
        _check_range("--threads", threads, 1, 4096)
    counted = _count(backbone, keys, say)
    fields = {key: c.cost_fields(element_bytes=element_bytes, batch_size=batch_size) for key, c in counted.items()}
    protocol = _count_facts(counted)
    samples, gpu = None, None
    verdict = Verdict(status="unmeasured")
    identity: dict[str, Scalar] = {"device": "meta", "dtype": dtype, "batch_size": batch_size, "runtime": "counts"}
    environment = Environment(identity=identity)
    if where is not None:
        inputs = _inputs(backbone, where, dtype, batch_size, seed)
        with (
            _pinned_threads(threads) as pinned,
            _ready(backbone, keys, made_runtime, where, dtype, seed, inputs[0]) as units,
        ):
            gpu = read_gpu(where) if where.type == "cuda" else None
            environment = fingerprint(
                where,
                dtype=dtype,
                batch_size=batch_size,
                input_size=backbone.input_size,
                threads=pinned,
                runtime=runtime,
                gpu=gpu,
            )
            environment = environment.model_copy(update={"identity": {**environment.identity, **units.identity}})
            clock = clock_for(where)
            memory.reset_device_peak(where)
            before = Snapshot.take()
            samples = measure_rounds(
                units, inputs, clock, precision=precision, max_seconds=max_seconds, seed=seed, progress=say
            )
            load = Load.between(before, Snapshot.take(), cores=usable_cores(), load_average=load_average())
            readings = [gpu, read_gpu(where)] if gpu is not None else []
        verdict = judge(
            samples,
            load,
            threads=pinned,
            on_cpu=where.type == "cpu",
            cuts_are_free=made_runtime.cuts_are_free,
            gpu=readings,
        )
        environment = _with_load(environment, load, readings)
        protocol |= dict(units.preparation)
        protocol |= _time_facts(samples, precision, max_seconds, seed, clock.name, where)
    placed = {p.index: p for p in backbone.placements}
    return Profile(
        schema_version=Profile.current_version,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        backbone=backbone.facts,
        placements=list(backbone.placements),
        environment=environment,
        protocol=protocol,
        segments=[
            SegmentCost(
                placement=index,
                module=placed[index].module,
                **fields["segment", index],
                **_times(samples.segments[index] if samples else None),
            )
            for index in sorted(placed)
        ],
        heads=[
            HeadCost(placement=key[0], head=key[1], **fields[key], **_times(samples.heads[key] if samples else None))
            for key in keys
        ],
        final=Cost(**fields["final", 0], **_times(samples.final if samples else None)),
        whole=Cost(**_times(samples.whole)) if samples else None,
        slowdown=samples.slowdown if samples else [],
        verdict=verdict,
    )


def measure_paths(
    backbone: Backbone,
    paths: Sequence[Sequence[UnitKey]],
    *,
    device: str | torch.device = "cpu",
    dtype: str = "fp32",
    batch_size: int = 1,
    threads: int | None = None,
    runtime: str = "eager",
    precision: float = 0.01,
    max_seconds: float = 60.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[list[PathTimes], list[float]]:
    """Time whole multi-exit paths, interleaved with the plain backbone: the check of a profile's predictions.

    Args:
        backbone: the model, cut at every placement; left as it is.
        paths: (placement, head) pairs in placement order, for each path.
        precision: rounds end when every path's median is known this well.

    The other arguments are those of `profile_backbone`, and its errors too.

    Returns:
        Times of each path, and every time of the plain backbone in ms.
    """
    _check_range("--batch-size", batch_size, 1, 2**20)
    _check_precision(precision, max_seconds)
    where = resolve_device(device)
    resolve_dtype(dtype)
    keys = sorted({(placement, head) for path in paths for placement, head in path})
    for path in paths:
        indices = [placement for placement, _ in path]
        if indices != sorted(set(indices)) or any(not 0 <= index < len(backbone.segments) for index in indices):
            raise InputError(f"a path names each placement once, in ascending order, found {indices}")
    made_runtime = find_runtime(runtime)
    made_runtime.check(where, dtype)
    inputs = _inputs(backbone, where, dtype, batch_size, seed)
    with _pinned_threads(threads), _ready(backbone, keys, made_runtime, where, dtype, seed, inputs[0]) as units:
        return time_paths(
            units,
            paths,
            inputs,
            clock_for(where),
            precision=precision,
            max_seconds=max_seconds,
            seed=seed,
            progress=progress or no_progress,
        )


def candidate_heads(backbone: Backbone, heads: Sequence[str] | None, placements: Sequence[int] | None) -> list[UnitKey]:
    """Every (placement, head) to measure, by placement; heads in canonical text.

    Raises:
        InputError: an unknown head or placement.
        UnsupportedError: a named head that fits none of the placements.
    """
    count = len(backbone.placements)
    wanted = sorted(set(placements)) if placements is not None else list(range(count))
    for index in wanted:
        if not 0 <= index < count:
            raise InputError(f"placements of {backbone.facts.name} run from 0 to {count - 1}, found {index}")
    named = heads is not None
    texts = [str(HeadChoice.parse(text)) for text in heads] if heads is not None else [h.name for h in list_heads()]
    keys = set()
    for text in dict.fromkeys(texts):
        reasons = {index: check_fits(text, backbone.placements[index]) for index in wanted}
        keys |= {(index, text) for index, reason in reasons.items() if reason is None}
        if named and wanted and all(reason is not None for reason in reasons.values()):
            raise UnsupportedError(f"{text} fits none of the placements: {reasons[wanted[0]]}")
    order = {text: number for number, text in enumerate(texts)}
    return sorted(keys, key=lambda key: (key[0], order[key[1]]))


def _count(backbone: Backbone, keys: Sequence[UnitKey], progress: Progress) -> dict[Any, macs.Counts]:
    """Counts by ("segment", k), ("final", 0) and (placement, head)."""
    x = torch.empty((1, *backbone.input_size), device="meta", dtype=next(backbone.module.parameters()).dtype)
    progress(0.0, "counting operations of the backbone")
    segments, final, features = macs.count_chain(backbone.segments, backbone.final, x)
    counted: dict[Any, macs.Counts] = {("segment", index): counts for index, counts in enumerate(segments)}
    counted["final", 0] = final
    for placement, text in keys:
        progress(0.0, f"counting operations of the heads at placement {placement}")
        head = create_head(
            text, placement=backbone.placements[placement], num_outputs=backbone.num_outputs, device="meta"
        )
        counted[placement, text] = macs.count_head(head.eval().to(x.dtype), features[placement])
    return counted


def _count_facts(counted: Mapping[Any, macs.Counts]) -> dict[str, Scalar]:
    """What the counters say of themselves, for the profile's `protocol`."""
    apart = [key for key, counts in counted.items() if not counts.counters_agree]
    missing: dict[str, int] = {}
    for key, counts in counted.items():
        if key[0] in ("segment", "final"):
            for operator, times in counts.not_counted.items():
                missing[operator] = missing.get(operator, 0) + times
    names = ", ".join(f"{name} x{times}" for name, times in sorted(missing.items()))
    return {
        "macs_counter": "fvcore, checked against torch.utils.flop_counter",
        "macs_disagreement": ", ".join(f"{where} {what}" for where, what in apart) or None,
        "not_counted": names or None,
    }


@contextmanager
def _pinned_threads(threads: int | None) -> Iterator[int]:
    """Set torch's threads for a measurement; yields their number."""
    own = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(own)


@contextmanager
def _ready(
    backbone: Backbone,
    keys: Sequence[UnitKey],
    runtime: type[Runtime],
    device: torch.device,
    dtype: str,
    seed: int,
    example: torch.Tensor,
) -> Iterator[Runtime]:
    """The runtime with backbone and heads on the device and in the dtype; a copy where either must change."""
    wanted = resolve_dtype(dtype)
    now = next(backbone.module.parameters())
    if now.device.type == "meta":
        raise InputError("a backbone on the meta device has no weights to run; create it on the CPU, or only count")
    if now.device != device or now.dtype != wanted:
        # One deep copy keeps the segments' modules and the model's the same ones.
        backbone = copy.deepcopy(backbone)
        backbone.module.to(device=device, dtype=wanted)
    heads: dict[UnitKey, nn.Module] = {}
    for placement, text in keys:
        head = create_head(
            text, placement=backbone.placements[placement], num_outputs=backbone.num_outputs, seed=seed, device=device
        )
        heads[placement, text] = head.eval().to(wanted)
    training = backbone.module.training
    backbone.module.eval()
    try:
        yield runtime(backbone, heads, example=example)
    finally:
        backbone.module.train(training)


def _inputs(backbone: Backbone, device: torch.device, dtype: str, batch_size: int, seed: int) -> list[torch.Tensor]:
    """Random normal batches; zeros and denormal numbers would mislead."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch_size, *backbone.input_size)
    return [
        torch.randn(shape, generator=generator).to(device=device, dtype=resolve_dtype(dtype))
        for _ in range(_INPUT_COUNT)
    ]


def _times(unit: UnitSamples | None) -> dict[str, Any]:
    """The measured fields of a `Cost`."""
    if unit is None:
        return {}
    return {
        "latency_ms": statistics.median(unit.host_ms),
        "interval_ms": statistics.median_interval(unit.host_ms),
        # Nanoseconds are all that the clock knows; longer decimals would only swell the file.
        "samples_ms": [round(sample, 6) for sample in unit.host_ms],
        "device_ms": statistics.median(unit.device_ms) if unit.device_ms else None,
    }


def _time_facts(
    samples: Samples, precision: float, max_seconds: float, seed: int, clock: str, device: torch.device
) -> dict[str, Scalar]:
    """How the times were taken and what they say as a whole, for the profile's `protocol`."""
    whole = samples.whole.host_ms
    middle = statistics.median(whole)
    total = sum(statistics.median(unit.host_ms) for unit in (*samples.segments, samples.final))
    facts: dict[str, Scalar] = {
        "clock": clock,
        "rounds": samples.rounds,
        "seconds": round(samples.seconds, 3),
        "warm_up_seconds": round(samples.warm_up_s, 3),
        "precision": precision,
        "max_seconds": max_seconds,
        "seed": seed,
        "sum_over_whole": round(total / middle, 5) if middle > 0 else None,
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


def _with_load(environment: Environment, load: Load, readings: Sequence[GpuReading]) -> Environment:
    """The environment with the load during the measurement, and the GPU as it was at the end."""
    after = {f"{key}_after": value for key, value in readings[-1].state.items()} if readings else {}
    state = {**environment.state, **load.facts(), **after}
    return environment.model_copy(update={"state": state})


def _check_range(option: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(f"{option} must be from {low} to {high}, found {value}")


def _check_precision(precision: float, max_seconds: float) -> None:
    if not 0 < precision < 1:
        raise InputError(f"--precision must be above 0 and below 1 (0.02 or 2%), found {precision}")
    if not 0 < max_seconds < 1e6:
        raise InputError(f"--max-seconds must be above 0, found {max_seconds}")
