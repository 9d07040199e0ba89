"""Whole paths of a multi-exit model, timed: the check of a profile's predictions, and the way to stand beside others.

Times of two runs differ by a percent or two, and by far more where something else has begun to run in between. So every
round has each path of the multi-exit model once, each other model once, and the plain backbone as yardstick; the
protocol is that of `timing/paths.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from exitsearch.errors import InputError
from exitsearch.measure.machine.load import Load, Snapshot, load_average, usable_cores
from exitsearch.measure.preparation import Condition, check_batch_size, check_precision, made_ready
from exitsearch.measure.runtimes import UnitKey
from exitsearch.measure.timing import statistics
from exitsearch.measure.timing.latency import Progress, no_progress
from exitsearch.measure.timing.paths import PathTimes, time_paths
from exitsearch.measure.timing.samples import Samples, UnitSamples
from exitsearch.measure.verdict import judge
from exitsearch.models.backbone import Backbone
from exitsearch.specs.verdict import Verdict


@dataclass(frozen=True)
class MeasuredPaths:
    """What one run gave.

    Attributes:
        paths: of the multi-exit model, in the order asked for.
        models: of the other models, each with one answer.
        plain_ms: every time of the plain backbone.
        condition: device, dtype, batch size, threads and runtime.
        verdict: whether the times can be believed, by the rules of a profile; there is no sum of parts to check.
    """

    paths: list[PathTimes]
    models: list[PathTimes]
    plain_ms: list[float]
    condition: dict[str, str | int]
    verdict: Verdict

    @property
    def whole_ms(self) -> float:
        """Median time of the plain backbone."""
        return statistics.median(self.plain_ms)

    @property
    def slowdown(self) -> list[float]:
        """Every time of the plain backbone over its median: samples of how slow the machine is."""
        middle = self.whole_ms
        return [time / middle for time in self.plain_ms]


def measure_paths(
    backbone: Backbone,
    paths: Sequence[Sequence[UnitKey]],
    *,
    models: Sequence[Backbone] = (),
    device: str | torch.device = "cpu",
    dtype: str = "fp32",
    batch_size: int = 1,
    threads: int | None = None,
    runtime: str = "eager",
    precision: float = 0.01,
    max_seconds: float = 60.0,
    seed: int = 0,
    pause_ms: float = 0.0,
    progress: Progress | None = None,
) -> MeasuredPaths:
    """Time paths of a multi-exit model, the plain backbone and whole passes of other models in the same rounds.

    Args:
        backbone: of the multi-exit model, cut at every placement; left as it is. Heads have random weights, which take
            as long.
        paths: (placement, head) pairs in placement order, for each path.
        models: others beside it; left as they are.
        device: `cpu`, `cuda` or `cuda:N`.
        dtype: `fp32`, `bf16` or `fp16`.
        batch_size: inputs of one batch, from 1.
        threads: threads that torch computes with on the CPU; None keeps torch's number.
        runtime: how all of them are executed.
        precision: rounds end when the median of every path and model is known this well; above 0 and below 1.
        max_seconds: or when this time is spent; at least ten rounds are run.
        seed: of the order of passes and of inputs.
        pause_ms: for which the device rests before every pass, 0 to 60,000.
        progress: called with the share of the work that is done, 0 to 1, and a text.

    Raises:
        InputError: an option out of range, an unknown name, or a path that is none.
        UnavailableError: the device is not there.
    """
    check_batch_size(batch_size)
    check_precision(precision, max_seconds=max_seconds)
    _check_order(paths, placements=len(backbone.segments))
    condition = Condition.resolve(device, dtype=dtype, threads=threads, runtime=runtime, seed=seed, pause_ms=pause_ms)
    clock = condition.clock()
    keys = sorted({(placement, head) for path in paths for placement, head in path})
    with ExitStack() as stack:
        ready = stack.enter_context(made_ready(backbone, keys, condition, batch_size=batch_size))
        others = [stack.enter_context(made_ready(model, [], condition, batch_size=batch_size)) for model in models]
        before = Snapshot.take()
        timed, plain = time_paths(
            ready.runtime,
            paths,
            ready.inputs,
            clock,
            precision=precision,
            max_seconds=max_seconds,
            seed=seed,
            progress=progress or no_progress,
            beside=[(other.runtime, other.inputs) for other in others],
        )
        load = Load.between(
            before, Snapshot.take(), cores=usable_cores(), load_average=load_average(), rested_s=clock.rested_s
        )
        threads = ready.threads
    on = condition.device.type
    return MeasuredPaths(
        paths=timed[: len(paths)],
        models=timed[len(paths) :],
        plain_ms=plain,
        condition={
            "device": on,
            "dtype": dtype,
            "batch_size": batch_size,
            "threads": threads,
            "runtime": runtime,
        },
        verdict=_verdict(timed, plain, load, precision, threads=threads, on_cpu=on == "cpu"),
    )


def _check_order(paths: Sequence[Sequence[UnitKey]], *, placements: int) -> None:
    for path in paths:
        indices = [placement for placement, _ in path]
        if indices != sorted(set(indices)) or any(not 0 <= index < placements for index in indices):
            raise InputError(
                f"a path names each placement once, in ascending order, found {indices}; "
                "sort them, and leave out what stands there twice"
            )


def _verdict(
    timed: Sequence[PathTimes], plain: list[float], load: Load, precision: float, *, threads: int, on_cpu: bool
) -> Verdict:
    """What a profile's rules say of the run."""
    unsettled = {}
    for number, times in enumerate(timed):
        middle, interval = times.answers_ms[-1], times.intervals_ms[-1]
        width = float("inf") if interval is None else (interval[1] - interval[0]) / 2
        if width > precision * middle:
            unsettled[f"model {number}"] = width / (precision * middle) if middle > 0 else float("inf")
    unit = UnitSamples(plain, rounds=list(range(len(plain))))
    samples = Samples([], {}, final=UnitSamples(), whole=unit, unsettled=unsettled)
    return judge(samples, load, threads=threads, on_cpu=on_cpu, cuts_are_free=False)
