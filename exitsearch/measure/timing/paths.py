"""Timing whole multi-exit paths, to check what a profile predicts of them.

Each round runs every path once, in random order, and the plain backbone once for every few of them, so that there is
always a yardstick nearby: as in `latency.py`, every time is divided by the machine's speed when it was taken, and the
same rule ends the warm-up. A path is one pass through the segments with its heads where they attach; the clock is read
at every answer and nowhere else, as in use, and what the reading takes belongs to no answer.

Other models may be timed beside, each with a whole pass in every round: under one load, by one clock, and divided by
the speed that the same yardstick shows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from exitsearch.measure.runtimes.base import Runtime, UnitKey
from exitsearch.measure.timing import statistics
from exitsearch.measure.timing.clock import Clock
from exitsearch.measure.timing.latency import ASK_AGAIN, Progress, no_collection, no_progress, run_whole
from exitsearch.measure.timing.statistics import Times
from exitsearch.measure.timing.warm_up import warm_up

# Paths for each pass of the plain backbone.
_PATHS_A_YARDSTICK = 4
_FEWEST_ROUNDS, _FEWEST_WARM_UP_ROUNDS = 10, 3


@dataclass(frozen=True)
class PathTimes:
    """Measured times of one path.

    Attributes:
        exits: (placement, head) pairs in placement order.
        answers_ms: median time from the input to each exit's answer, and last to the final exit's, the machine's speed
            taken out.
        intervals_ms: the 95% intervals of these medians, None below 6 rounds.
        samples_ms: every measured time of each answer, as the clock read it [answer][round].
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
    beside: Sequence[tuple[Runtime, Sequence[Any]]] = (),
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
        beside: other models and their own batches; each is timed like a path without exits.

    Returns:
        Times of each path and then of each model beside, and every time of the plain backbone.
    """
    rounds = _Rounds(runtime, paths, inputs, clock, beside=beside, seed=seed)
    with torch.inference_mode():
        progress(0.0, "warming up")
        warm_up(rounds.run_one, clock, fewest_rounds=_FEWEST_WARM_UP_ROUNDS)
        rounds.forget()
        begin, done, ask = clock.now_s(), 0, _FEWEST_ROUNDS
        while True:
            rounds.run_one()
            done += 1
            spent = (clock.now_s() - begin) / max_seconds if max_seconds > 0 else 1.0
            progress(min(spent, 1.0), f"round {done}")
            if done < ask and (spent < 1 or done < _FEWEST_ROUNDS):
                continue
            if spent >= 1 or _settled(rounds.at_median_speed(), rounds.whole, precision):
                break
            ask = done + 1 + int(ASK_AGAIN * done)
    return rounds.times(), rounds.whole


class _Rounds:
    """Rounds in which every path and every model beside runs once, the plain backbone among them.

    Attributes:
        whole: every time of the plain backbone in ms.
    """

    def __init__(
        self,
        runtime: Runtime,
        paths: Sequence[Sequence[UnitKey]],
        inputs: Sequence[Any],
        clock: Clock,
        *,
        beside: Sequence[tuple[Runtime, Sequence[Any]]],
        seed: int,
    ) -> None:
        self._runtime, self._inputs, self._clock, self._beside = runtime, inputs, clock, beside
        self._draw = random.Random(seed)
        self._paths = [tuple(path) for path in paths]
        # A model beside is timed like a path without exits.
        self._timed: list[tuple[UnitKey, ...]] = [*self._paths, *(() for _ in beside)]
        self.forget()

    def forget(self) -> None:
        """Drop all that was timed: it was warm-up."""
        self.whole: list[float] = []
        self._answers: list[list[list[float]]] = [[[] for _ in range(len(path) + 1)] for path in self._timed]
        # For each pass of each path: how many times the plain backbone had been timed by then.
        self._nearest: list[list[int]] = [[] for _ in self._timed]

    def run_one(self) -> float:
        """Run a round; the plain backbone's last time in it."""
        x = self._draw.choice(self._inputs)
        order: list[int | None] = list(self._draw.sample(range(len(self._timed)), len(self._timed)))
        for start in range(0, max(1, len(self._timed)), _PATHS_A_YARDSTICK):
            group = [None, *order[start : start + _PATHS_A_YARDSTICK]]
            for index in self._draw.sample(group, len(group)):
                if index is None:
                    self.whole.append(run_whole(self._runtime, x, self._clock).total_ms)
                    continue
                self._nearest[index].append(len(self.whole))
                for samples, time in zip(self._answers[index], self._one_pass(index, x), strict=True):
                    samples.append(time)
        return self.whole[-1]

    def _one_pass(self, index: int, x: Any) -> list[float]:
        if index < len(self._paths):
            return _run_path(self._runtime, self._paths[index], x, self._clock)
        other, batches = self._beside[index - len(self._paths)]
        return [run_whole(other, self._draw.choice(batches), self._clock).total_ms]

    def at_median_speed(self) -> list[list[NDArray[np.float64]]]:
        """Times of each answer of each path, the machine's speed when they were taken divided out."""
        speeds = statistics.machine_speeds(self.whole)
        at = [np.minimum(passes, len(speeds) - 1) for passes in self._nearest]
        return [
            [np.array(samples) / speeds[i] for samples in times] for times, i in zip(self._answers, at, strict=True)
        ]

    def times(self) -> list[PathTimes]:
        """What the rounds have shown of each path."""
        return [
            PathTimes(
                exits=path,
                answers_ms=[statistics.median(samples) for samples in times_at_median],
                intervals_ms=[statistics.median_interval(samples) for samples in times_at_median],
                samples_ms=times,
            )
            for path, times, times_at_median in zip(self._timed, self._answers, self.at_median_speed(), strict=True)
        ]


def _settled(at_median_speed: Sequence[Sequence[Times]], whole: Times, precision: float) -> bool:
    """Whether the median of every final answer, and of the plain backbone, is known well enough."""
    finals = [samples[-1] for samples in at_median_speed] + [whole]
    return all(statistics.half_width(samples) <= precision * statistics.median(samples) for samples in finals)


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
