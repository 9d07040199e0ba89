"""Timing whole multi-exit paths, to check what a profile predicts of them.

Each round runs the plain backbone and every path once, in random order. A path is one pass through the segments with
its heads where they attach; the clock is read at every answer and nowhere else, as in use.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from exitsearch.measure import statistics
from exitsearch.measure.clock import Clock
from exitsearch.measure.latency import Progress, no_collection, no_progress, run_whole
from exitsearch.measure.runtimes.base import Runtime, UnitKey


@dataclass(frozen=True)
class PathTimes:
    """Measured times of one path.

    Attributes:
        exits: (placement, head) pairs in placement order.
        answers_ms: median time from the input to each exit's answer, and last to the final exit's.
        intervals_ms: the 95% intervals of these medians, None below 6 rounds.
        samples_ms: every measured time of each answer [answer][round].
    """

    exits: tuple[UnitKey, ...]
    answers_ms: list[float]
    intervals_ms: list[tuple[float, float] | None]
    samples_ms: list[list[float]]


def time_paths(
    runtime: Runtime,
    paths: Sequence[Sequence[UnitKey]],
    inputs: Sequence[Any],
    clock: Clock,
    *,
    precision: float = 0.01,
    max_seconds: float = 60.0,
    seed: int = 0,
    progress: Progress = no_progress,
) -> tuple[list[PathTimes], list[float]]:
    """Time whole paths, interleaved with the plain backbone.

    Args:
        runtime: holds every head that a path names.
        paths: (placement, head) pairs in placement order, for each path.
        inputs: batches to run; one is drawn for each round.
        clock: fits the device that the units run on.
        precision: rounds end when every final answer's interval has at most this half-width over its median.
        max_seconds: or when this time is spent; at least ten rounds are run.
        seed: of the order of passes and the draw of inputs.
        progress: called with the share of the work that is done, 0 to 1, and a text.

    Returns:
        Times of each path, and every time of the plain backbone.
    """
    draw = random.Random(seed)
    whole: list[float] = []
    answers: list[list[list[float]]] = [[[] for _ in range(len(path) + 1)] for path in paths]

    def one_round(*, keep: bool) -> None:
        x = draw.choice(inputs)
        for index in draw.sample(range(-1, len(paths)), len(paths) + 1):
            if index < 0:
                total = run_whole(runtime, x, clock).total_ms
                if keep:
                    whole.append(total)
                continue
            times = _run_path(runtime, paths[index], x, clock)
            if keep:
                for samples, time in zip(answers[index], times, strict=True):
                    samples.append(time)

    with torch.inference_mode():
        for _ in range(3):
            one_round(keep=False)
        begin = clock.now_s()
        while True:
            one_round(keep=True)
            spent = (clock.now_s() - begin) / max_seconds if max_seconds > 0 else 1.0
            finals = [samples[-1] for samples in answers] + [whole]
            settled = all(statistics.half_width(s) <= precision * statistics.median(s) for s in finals)
            progress(min(spent, 1.0), f"round {len(whole)}")
            if len(whole) >= 10 and (settled or spent >= 1):
                break
    timed = [
        PathTimes(
            exits=tuple(path),
            answers_ms=[statistics.median(samples) for samples in times],
            intervals_ms=[statistics.median_interval(samples) for samples in times],
            samples_ms=times,
        )
        for path, times in zip(paths, answers, strict=True)
    ]
    return timed, whole


def _run_path(runtime: Runtime, path: Sequence[UnitKey], x: Any, clock: Clock) -> list[float]:
    """Milliseconds from the input to each answer of one pass."""
    heads = dict(path)
    with no_collection():
        clock.start()
        state = runtime.begin(x)
        for placement, segment in enumerate(runtime.segments):
            state = segment(state)
            if placement in heads:
                runtime.decide(runtime.heads[(placement, heads[placement])](runtime.features(state)))
                clock.mark(waited=True)
        runtime.final(state)
        return list(accumulate(clock.stop().parts_ms))
