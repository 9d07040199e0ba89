"""A multi-exit model and other models, timed in one run: the same machine, the same minutes, the same clock.

Times of two runs differ by a percent or two, and by far more where something else has begun to run in between. So every
round has each path of the multi-exit model once, each other model once, and the plain backbone as yardstick; the
protocol is that of `paths.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from exitsearch.errors import InputError
from exitsearch.measure.machine.load import Load, Snapshot, load_average, usable_cores
from exitsearch.measure.preparation import Condition, made_ready
from exitsearch.measure.runtimes import UnitKey
from exitsearch.measure.timing import statistics
from exitsearch.measure.timing.clock import clock_for
from exitsearch.measure.timing.latency import Progress, no_progress
from exitsearch.measure.timing.paths import PathTimes, time_paths
from exitsearch.measure.timing.samples import Samples, UnitSamples
from exitsearch.measure.verdict import judge
from exitsearch.models.backbone import Backbone
from exitsearch.specs.verdict import Verdict


@dataclass(frozen=True)
class BesideTimes:
    """What one run gave.

    Attributes:
        paths: of the multi-exit model, in the order asked for.
        models: of the other models, each with one answer.
        whole_ms: median time of the plain backbone.
        slowdown: every time of the plain backbone over that median: samples of how slow the machine is.
        condition: device, dtype, batch size, threads and runtime.
        verdict: whether the times can be believed, by the rules of a profile; there is no sum of parts to check.
    """

    paths: list[PathTimes]
    models: list[PathTimes]
    whole_ms: float
    slowdown: list[float]
    condition: dict[str, str | int]
    verdict: Verdict


def measure_beside(
    backbone: Backbone,
    paths: Sequence[Sequence[UnitKey]],
    models: Sequence[Backbone],
    *,
    device: str | torch.device = "cpu",
    dtype: str = "fp32",
    batch_size: int = 1,
    threads: int | None = None,
    runtime: str = "eager",
    precision: float = 0.02,
    max_seconds: float = 20.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> BesideTimes:
    """Time paths of a multi-exit model and whole passes of other models in the same rounds.

    Args:
        backbone: of the multi-exit model; left as it is. Heads have random weights, which take as long.
        paths: (placement, head) pairs in placement order, for each path.
        models: the others; left as they are.
        device: `cpu`, `cuda` or `cuda:N`.
        dtype: `fp32`, `bf16` or `fp16`.
        batch_size: inputs of one batch, from 1.
        threads: threads that torch computes with on the CPU; None keeps torch's number.
        runtime: how all of them are executed.
        precision: rounds end when every median is known this well.
        max_seconds: or when this time is spent; at least ten rounds are run.
        seed: of the order of passes and of inputs.
        progress: called with the share of the work that is done, 0 to 1, and a text.

    Raises:
        InputError: an option out of range, or an unknown name.
        UnavailableError: the device is not there.
    """
    if not 1 <= batch_size <= 2**20:
        raise InputError(f"--batch-size must be from 1 to {2**20}, found {batch_size}; give one in that range")
    condition = Condition.resolve(device, dtype=dtype, threads=threads, runtime=runtime, seed=seed)
    keys = sorted({(placement, head) for path in paths for placement, head in path})
    with ExitStack() as stack:
        ready = stack.enter_context(made_ready(backbone, keys, condition, batch_size=batch_size))
        others = [stack.enter_context(made_ready(model, [], condition, batch_size=batch_size)) for model in models]
        before = Snapshot.take()
        timed, whole = time_paths(
            ready.runtime,
            paths,
            ready.inputs,
            clock_for(condition.device),
            precision=precision,
            max_seconds=max_seconds,
            seed=seed,
            progress=progress or no_progress,
            beside=[(other.runtime, other.inputs) for other in others],
        )
        load = Load.between(before, Snapshot.take(), cores=usable_cores(), load_average=load_average())
        facts: dict[str, str | int] = {
            "device": condition.device.type,
            "dtype": dtype,
            "batch_size": batch_size,
            "threads": ready.threads,
            "runtime": runtime,
        }
    middle = statistics.median(whole)
    return BesideTimes(
        paths=timed[: len(paths)],
        models=timed[len(paths) :],
        whole_ms=middle,
        slowdown=[time / middle for time in whole],
        condition=facts,
        verdict=_verdict(timed, whole, load, precision, threads=int(facts["threads"]), on_cpu=facts["device"] == "cpu"),
    )


def _verdict(
    timed: Sequence[PathTimes], whole: list[float], load: Load, precision: float, *, threads: int, on_cpu: bool
) -> Verdict:
    """What a profile's rules say of the run."""
    unsettled = {}
    for number, times in enumerate(timed):
        middle, interval = times.answers_ms[-1], times.intervals_ms[-1]
        width = float("inf") if interval is None else (interval[1] - interval[0]) / 2
        if width > precision * middle:
            unsettled[f"model {number}"] = width / (precision * middle) if middle > 0 else float("inf")
    unit = UnitSamples(whole, rounds=list(range(len(whole))))
    samples = Samples([], {}, final=UnitSamples(), whole=unit, unsettled=unsettled)
    return judge(samples, load, threads=threads, on_cpu=on_cpu, cuts_are_free=False)
