"""How long a bundle's parts take while it answers: requests are run by the very code of `exitsearch.runtime`.

Requests come one after the other, as `verify` asks them. Under `interruptible` each runs in a thread of its own, with
every head on the way; under `confidence` in the caller's; under `contract` to an exit drawn at random, whose head is
the only one. Marks are set behind every graph, so that what happens between two of them (plans, copies, checks of
outputs) is in the times, and the parts of a request add up to it. The plain backbone is not run in between: it would
empty the caches, and on a model of 0.6 million weights that made the first exit's time twice what requests then took.

One request in eight comes after a pause, as frames of a camera do. The first exit of a small model then takes twice as
long, and a later one longer by the same. What it takes longer is kept by the length of the pause
(`exitsearch/runtime/pauses.py`); all other times are those of requests without one.

Every fourth request is no sample of any part: from those the answers' times are taken that the sums of the parts are
held against.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitsearch.deploy.given import Given, divided_inputs
from exitsearch.deploy.latency import PRECISION, Timed, facts_of, quantiles_of, slow_downs_of, warning_of
from exitsearch.measure.machine.load import Load, Snapshot, load_average, usable_cores
from exitsearch.measure.timing import statistics
from exitsearch.measure.timing.latency import no_collection, unsettled_units
from exitsearch.measure.timing.samples import Samples, UnitSamples
from exitsearch.measure.verdict import judge
from exitsearch.runtime.bundle.manifest import Manifest
from exitsearch.runtime.bundle.trust import open_bundle
from exitsearch.runtime.deadline import Plan, Table
from exitsearch.runtime.graphs import NO_SIDE, Graphs, Units
from exitsearch.runtime.policies import Interruptible, Only, Policy
from exitsearch.runtime.slow_down import SlowDown
from exitsearch.runtime.threads import Threads
from exitsearch.runtime.work import Work
from exitsearch.specs.bundle import AfterPause, BundleLatency
from exitsearch.specs.question.request import Policy as PolicyName

Arrays = NDArray[Any]
Clock = Callable[[], float]
Progress = Callable[[float, str], None]

# One request in so many is held against the sums of the others' parts.
_HELD_OUT = 4
# The share of requests that come after a pause, and how long those are.
_AFTER_A_PAUSE, _PAUSES_MS = 0.125, (1.0, 3.0, 10.0, 30.0)
# Requests before the first that counts, at least, and the share of the time that they may take.
_WARM_UP, _WARM_UP_SHARE = 20, 0.1


@dataclass(frozen=True)
class Pass:
    """One request.

    Attributes:
        to: the exit where it ended.
        start_ms: until it began to run.
        segments: time of each segment that ran [to + 1].
        heads: time of each head that ran, by exit.
        pause_ms: for which nothing ran on purpose before it.
    """

    to: int
    start_ms: float
    segments: Sequence[float]
    heads: dict[int, float]
    pause_ms: float = 0.0

    @property
    def total_ms(self) -> float:
        """From its beginning to its end."""
        return sum(self.segments) + sum(self.heads.values())

    def answers_ms(self) -> dict[int, float]:
        """When each exit answered that did, from the beginning; the final one with its segment."""
        spent, found = 0.0, {}
        for exit_, ms in enumerate(self.segments):
            spent += ms + self.heads.get(exit_, 0.0)
            if exit_ in self.heads or exit_ == self.to:
                found[exit_] = spent
        return found


class TimedUnits:
    """Units with a mark behind each. For one request after the other.

    Args:
        units: what is timed.
        clock: seconds.
    """

    def __init__(self, units: Units, *, clock: Clock) -> None:
        self._units, self._clock, self._last_exit = units, clock, -1
        self._mark = 0.0
        self.began = 0.0
        self.segments: list[float] = []
        self.heads: dict[int, float] = {}

    def begin(self, x: Arrays, side: Mapping[str, Arrays] = NO_SIDE) -> Any:  # noqa: D102
        self.began = self._mark = self._clock()
        self.segments, self.heads = [], {}
        return self._units.begin(x, side) if side else self._units.begin(x)

    def segment(self, position: int, state: Any, stop: Any) -> Any:  # noqa: D102
        found = self._units.segment(position, state, stop)
        self.segments.append(self._passed_ms())
        return found

    def head(self, position: int, state: Any, stop: Any) -> Arrays:  # noqa: D102
        found = self._units.head(position, state, stop)
        self.heads[position] = self._passed_ms()
        return found

    def take(self, position: int, state: Any, rows: Arrays) -> Any:  # noqa: D102
        return self._units.take(position, state, rows)

    def new_stop(self) -> Any:  # noqa: D102
        return self._units.new_stop()

    def _passed_ms(self) -> float:
        now = self._clock()
        passed, self._mark = (now - self._mark) * 1e3, now
        return passed


@dataclass
class Requests:
    """Asks for one request after the other, and keeps what each took.

    Args:
        units: of the bundle.
        manifest: of the bundle.
        policy: how requests are asked.
        clock: seconds.
    """

    units: Units
    manifest: Manifest
    policy: PolicyName
    clock: Clock = time.perf_counter
    _threads: Threads = field(default_factory=Threads)

    def __post_init__(self) -> None:
        self._timed = TimedUnits(self.units, clock=self.clock)
        self._table = Table(self.manifest.latency, quantile=0.5)
        self._slow_down = SlowDown(quantile=0.5, clock=self.clock, corrects=False)
        self.final = len(self.manifest.heads)

    def ask(self, given: Given, *, to: int) -> Pass:
        """One request, to an exit; under `contract` its head is the only one."""
        x, side = divided_inputs(given, self.manifest.input_name)
        plan = Plan(self._table, self._slow_down, budget_ms=None)
        values = self.manifest.values
        policy: Policy = Interruptible(values, plan) if self.policy != "contract" else Only(values, plan, exit_=to)
        arrived = self.clock()
        work = Work(
            self._timed,
            policy,
            table=self._table,
            slow_down=self._slow_down,
            clock=self.clock,
            arrived=arrived,
            rows=len(x),
            side=side,
        )
        if self.policy == "interruptible":
            self._in_a_thread(work, x)
        else:
            work.run(x)
        heads = {exit_: ms for exit_, ms in self._timed.heads.items() if exit_ != self.final}
        segments = list(self._timed.segments)
        # The final exit's outputs come with its segment; looking at them belongs to it.
        segments[-1] += self._timed.heads.get(self.final, 0.0)
        return Pass(to, (self._timed.began - arrived) * 1e3, segments, heads)

    def _in_a_thread(self, work: Work, x: Arrays) -> None:
        done, failures = threading.Event(), list[BaseException]()

        def run() -> None:
            try:
                work.run(x)
            except BaseException as error:  # raised where it is waited for
                failures.append(error)
            finally:
                done.set()

        self._threads.run(run)
        done.wait()
        if failures:
            raise failures[0]


def measure_answers(
    folder: Path,
    inputs: Sequence[Given],
    *,
    policy: PolicyName,
    threads: int,
    max_seconds: float,
    seed: int,
    progress: Progress,
) -> Timed:
    """Measure every part of a bundle of the format onnx while it answers.

    Args:
        folder: of the bundle; of its manifest's latency nothing is used.
        inputs: batches of one size.
        policy: how requests are asked.
        threads: that one request may use.
        max_seconds: for the measurement; all of it is used, since tails need samples.
        seed: of the order.
    """
    with open_bundle(folder, most_bytes=2**62) as checked:
        manifest, units = checked.manifest, Graphs(checked, threads=threads)
    requests, draw = Requests(units, manifest, policy), random.Random(seed)

    def exits() -> list[int]:
        """Where the next requests end."""
        return [requests.final, draw.randrange(requests.final + 1)] if policy == "contract" else [requests.final]

    begin, count = time.perf_counter(), 0
    while count < _WARM_UP or time.perf_counter() - begin < _WARM_UP_SHARE * max_seconds:
        for to in exits():
            requests.ask(draw.choice(inputs), to=to)
        count += 1
    before, begin, passes = Snapshot.take(), time.perf_counter(), list[Pass]()
    while (spent := time.perf_counter() - begin) < max_seconds or len(passes) < 3 * _HELD_OUT * (requests.final + 1):
        for to in exits():
            pause_ms = draw.choice(_PAUSES_MS) if draw.random() < _AFTER_A_PAUSE else 0.0
            if pause_ms:
                time.sleep(pause_ms / 1e3)
            with no_collection():
                passes.append(replace(requests.ask(draw.choice(inputs), to=to), pause_ms=pause_ms))
        progress(min(1.0, spent / max_seconds) if max_seconds > 0 else 1.0, f"timing answers, request {len(passes)}")
    rested_s = sum(one.pause_ms for one in passes) / 1e3
    load = Load.between(before, Snapshot.take(), cores=usable_cores(), load_average=load_average(), rested_s=rested_s)
    batch_size = len(divided_inputs(inputs[0], manifest.input_name)[0])
    return timed_of(passes, manifest, policy=policy, batch_size=batch_size, threads=threads, load=load)


def timed_of(
    passes: Sequence[Pass], manifest: Manifest, *, policy: PolicyName, batch_size: int, threads: int, load: Load
) -> Timed:
    """The latency table that requests give, and what is known of it.

    Args:
        passes: every `_HELD_OUT`th of a way is held against the others.
    """
    held_out, used = _divided([one for one in passes if not one.pause_ms])
    final = len(manifest.heads)
    segments = [[one.segments[k] for one in used if k <= one.to] for k in range(final + 1)]
    heads = [[one.heads[k] for one in used if k in one.heads] for k in range(final)]
    latency = BundleLatency(
        batch_size=batch_size,
        threads=threads,
        start=quantiles_of([one.start_ms for one in used]) if policy == "interruptible" else None,
        segments=[quantiles_of(times) for times in segments],
        heads=[quantiles_of(times) for times in heads],
        slow_down=slow_downs_of(_slow_downs(used)),
        after_pause=_after_pause(passes),
    )
    samples = _as_samples(used, segments, heads)
    samples.unsettled = unsettled_units(samples, PRECISION)
    verdict = judge(samples, load, threads=threads, cuts_are_free=False)
    facts = {
        **facts_of({"exitsearch": "runtime"}, rounds=len(passes), verdict=verdict, load=load),
        "fewest_samples": min(len(times) for times in (*segments, *heads)),
        "predicted_over_measured": [round(ratio, 4) for ratio in _over(latency, held_out, policy)],
    }
    return Timed(latency, facts, warning_of(verdict))


def _divided(passes: Sequence[Pass]) -> tuple[list[Pass], list[Pass]]:
    """Those that are held out, and the others; of every way the same share."""
    ways: dict[int, int] = {}
    held_out, used = list[Pass](), list[Pass]()
    for one in passes:
        number = ways[one.to] = ways.get(one.to, 0) + 1
        (held_out if number % _HELD_OUT == 0 else used).append(one)
    return held_out, used


def _after_pause(passes: Sequence[Pass]) -> list[AfterPause]:
    """By how much passes took longer after each pause than the same way without one; only what is sure to be more."""
    medians = _medians([one for one in passes if not one.pause_ms])
    found = []
    for pause_ms in sorted({one.pause_ms for one in passes} - {0.0}):
        longer = [one.total_ms - medians[one.to] for one in passes if one.pause_ms == pause_ms and one.to in medians]
        interval = statistics.median_interval(longer) if longer else None
        extra_ms = statistics.median(longer) if interval and interval[0] > 0 else 0.0
        found.append(AfterPause(pause_ms=pause_ms, extra_ms=round(extra_ms, 6)))
    return found


def _slow_downs(passes: Sequence[Pass]) -> list[float]:
    """Each pass over the median of its way."""
    medians = _medians(passes)
    return [one.total_ms / medians[one.to] for one in passes if medians[one.to] > 0]


def _medians(passes: Sequence[Pass]) -> dict[int, float]:
    """Of each way."""
    ways: dict[int, list[float]] = {}
    for one in passes:
        ways.setdefault(one.to, []).append(one.total_ms)
    return {to: statistics.median(times) for to, times in ways.items()}


def _over(latency: BundleLatency, held_out: Sequence[Pass], policy: PolicyName) -> list[float]:
    """Predicted over measured time of each answer, of requests that are no samples of the prediction."""
    measured: dict[int, list[float]] = {}
    for one in held_out:
        for exit_, ms in one.answers_ms().items():
            if policy != "contract" or exit_ == one.to:
                measured.setdefault(exit_, []).append(ms)
    predicted = latency.answers_ms(policy)
    start = latency.start.median if latency.start else 0.0
    return [(predicted[exit_] - start) / statistics.median(times) for exit_, times in sorted(measured.items())]


def _as_samples(passes: Sequence[Pass], segments: Sequence[list[float]], heads: Sequence[list[float]]) -> Samples:
    """What the verdict looks at; the whole pass is one to the final exit."""
    samples = Samples.start(len(segments) - 1, [(exit_, str(exit_)) for exit_ in range(len(heads))])
    samples.resumed = {}
    last = len(segments) - 1
    samples.whole.host_ms = [one.total_ms for one in passes if one.to == last]
    samples.whole.rounds = list(range(len(samples.whole.host_ms)))
    rounds = list(accumulate((one.to == last for one in passes), initial=0))
    at = [min(number, len(samples.whole.host_ms) - 1) for number in rounds]

    def fill(unit: UnitSamples, times: list[float], ran: list[int]) -> None:
        unit.host_ms, unit.rounds = list(times), [at[number] for number in ran]

    for exit_, times in enumerate(segments):
        unit = samples.final if exit_ == last else samples.segments[exit_]
        fill(unit, times, [number for number, one in enumerate(passes) if exit_ <= one.to])
    for exit_, times in enumerate(heads):
        fill(
            samples.heads[exit_, str(exit_)], times, [number for number, one in enumerate(passes) if exit_ in one.heads]
        )
    samples.rounds = len(passes)
    samples.seconds = float(np.sum([one.total_ms for one in passes])) / 1e3
    return samples
