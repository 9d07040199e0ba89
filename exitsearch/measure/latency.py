"""The latency protocol: rounds of whole passes, every unit timed in place, inside the running chain.

One round, its two passes in random order:

    (a)  whole    |------------------ plain backbone ------------------|          the yardstick
    (b)  chain    |--segment 0--|-head-|--segment 1--|-head-|--- ... --|--final--|
                  ^             ^      ^             ^      ^          ^         ^   one clock reading each

- In a chain pass one exit head runs at every placement, right after the segment that it attaches to. Each placement
  deals its heads from a shuffled deck, so that over as many passes as it has heads each is measured once, in random
  order. A head's time includes its decision: softmax, maximum, and the copy of the answer to the host. The final exit
  and the plain backbone end with their outputs: nothing is left to decide.
- Times of isolated blocks and sums of leaf modules are not additive (caches, functional operators); these are, to
  about 1%, and `measure_paths` checks it on paths that were never measured.
- The whole pass shows drift, and its ratio to the median whole pass is a sample of the slow-down factor.
- A shared machine's speed jumps (by a fifth and more, says the verdict of some runs in the README), and a head is
  measured in few rounds, so its plain median would depend on which. Every sample is therefore divided by the machine's
  level in its round: the running median of the whole pass over its median. The raw samples are kept.
- Warm-up: until at least 0.2 s have passed, every head has run twice, and the whole pass's running median is flat.
- Stop: when every unit is settled, or when `max_seconds` are spent. A unit is settled when the half-width of its
  median's 95% interval is at most `precision` times its median, or times an equal share of the whole pass among the
  units of the longest path. The share is there for small heads, whose own size is lost in the clock's noise: no path
  can be off by more than `precision` of the whole on their account, even if all were off in one direction.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from exitsearch.measure import statistics
from exitsearch.measure.clock import Clock, PassTimes
from exitsearch.measure.runtimes.base import Runtime, UnitKey

WARM_UP_S = 0.2
# Warm-up ends here even if the running median still moves; the verdict will find the drift.
LONGEST_WARM_UP_S = 3.0
# The running median is flat when its later half is within this of its earlier half.
FLAT = 0.02
# Rounds that are run however little time is given: every head is measured at least this often.
FEWEST_CYCLES = 3
# Whether all is settled is asked again after this share more rounds: asking takes time too.
ASK_AGAIN = 0.05

Progress = Callable[[float, str], None]


def no_progress(done_fraction: float, text: str) -> None:
    """Progress that nobody watches."""


@dataclass
class UnitSamples:
    """Times of one unit in the order they were measured.

    Attributes:
        host_ms: on the host's clock.
        device_ms: on the device's own, where it has one.
        rounds: in which round each was measured, from 0.
    """

    host_ms: list[float] = field(default_factory=list)
    device_ms: list[float] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)

    def add(self, times: PassTimes, part: int, *, number: int) -> None:
        """Take one part of a pass of round `number`."""
        self.rounds.append(number)
        self.host_ms.append(times.parts_ms[part])
        if times.device_parts_ms is not None:
            self.device_ms.append(times.device_parts_ms[part])

    def levelled(self, levels: NDArray[np.float64]) -> NDArray[np.float64]:
        """The host's times with the machine's level in their round [rounds] taken out."""
        return np.array(self.host_ms) / levels[self.rounds]


@dataclass
class Samples:
    """Everything that a run of the protocol measured.

    Attributes:
        enqueue_ms: of each whole pass, until the host had handed over its work; empty on the CPU.
        seconds: length of the measurement without warm-up.
        warm_up_s: length of the warm-up.
        unsettled: names of the units whose interval is still too wide, with half-width over tolerated half-width.
    """

    segments: list[UnitSamples]
    heads: dict[UnitKey, UnitSamples]
    final: UnitSamples = field(default_factory=UnitSamples)
    whole: UnitSamples = field(default_factory=UnitSamples)
    enqueue_ms: list[float] = field(default_factory=list)
    rounds: int = 0
    seconds: float = 0.0
    warm_up_s: float = 0.0
    unsettled: dict[str, float] = field(default_factory=dict)

    def units(self) -> Iterator[tuple[str, UnitSamples]]:
        """Every unit with its name in messages."""
        for placement, samples in enumerate(self.segments):
            yield f"segment {placement}", samples
        for (placement, head), samples in self.heads.items():
            yield f"head {head} at placement {placement}", samples
        yield "final", self.final
        yield "whole", self.whole

    def levelled(self) -> Iterator[tuple[str, UnitSamples, NDArray[np.float64]]]:
        """Every unit's name, samples, and times in ms with the machine's level taken out; the whole pass's are raw."""
        levels = statistics.levels(self.whole.host_ms)
        for name, unit in self.units():
            yield name, unit, np.array(unit.host_ms) if unit is self.whole else unit.levelled(levels)

    @property
    def parts_ms(self) -> float:
        """The backbone's parts together: segments and final, at the whole pass's median level."""
        parts = (*self.segments, self.final)
        return sum(statistics.median(times) for _, unit, times in self.levelled() if any(unit is p for p in parts))

    @property
    def slowdown(self) -> list[float]:
        """Each whole pass over the median whole pass."""
        middle = statistics.median(self.whole.host_ms)
        return [sample / middle for sample in self.whole.host_ms] if middle > 0 else []


def measure_rounds(
    runtime: Runtime,
    inputs: Sequence[Any],
    clock: Clock,
    *,
    precision: float = 0.02,
    max_seconds: float = 60.0,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Samples:
    """Run the protocol.

    Args:
        runtime: the units.
        inputs: batches to run; one is drawn for each round.
        clock: fits the device that the units run on.
        precision: wanted half-width of the median's interval over the median, above 0.
        max_seconds: time for the measurement, warm-up left out; at least three rounds per head are run.
        seed: of the order of passes, the deal of heads and the draw of inputs.
        progress: called with the share of the work that is done, 0 to 1, and a text.
    """
    # Warm-up takes as many rounds as it takes; its own generator leaves the measured order to the seed alone.
    rehearsal, draw = random.Random(f"warm-up {seed}"), random.Random(seed)
    decks = _decks(runtime, draw)
    samples = Samples([UnitSamples() for _ in runtime.segments], {key: UnitSamples() for key in runtime.heads})
    cycle = max([1, *(len(deck.heads) for deck in decks)])
    with torch.inference_mode():
        progress(0.0, "warming up")
        samples.warm_up_s = _warm_up(runtime, inputs, clock, rehearsal, cycle)
        begin, done = clock.now_s(), 0.0
        while True:
            for _ in range(max(1, int(ASK_AGAIN * samples.rounds / cycle)) * cycle):
                _one_round(runtime, draw.choice(inputs), clock, decks, draw, samples)
            samples.seconds = clock.now_s() - begin
            samples.unsettled = unsettled_units(samples, precision)
            spent = samples.seconds / max_seconds if max_seconds > 0 else 1.0
            enough = samples.rounds >= FEWEST_CYCLES * cycle
            if enough and (not samples.unsettled or spent >= 1):
                break
            count = len(samples.heads) + len(samples.segments) + 2
            done = max(done, min(0.99, max(spent, 1 - len(samples.unsettled) / count)))
            progress(done, f"round {samples.rounds}, {count - len(samples.unsettled)} of {count} units settled")
    progress(1.0, f"{samples.rounds} rounds in {samples.seconds:.1f} s")
    return samples


def unsettled_units(samples: Samples, precision: float) -> dict[str, float]:
    """Units whose interval is too wide by the rule above, with half-width over the tolerated half-width."""
    longest_path = len(samples.segments) + len({placement for placement, _ in samples.heads}) + 1
    floor = statistics.median(samples.whole.host_ms) / longest_path
    wide = {}
    for name, _, times in samples.levelled():
        tolerated = precision * max(statistics.median(times), floor)
        width = statistics.half_width(times)
        if width > tolerated:
            wide[name] = width / tolerated if tolerated > 0 else float("inf")
    return wide


class _Deck:
    """The heads of one placement, dealt in random order; when all are dealt it is shuffled anew."""

    def __init__(self, placement: int, heads: Sequence[str], draw: random.Random) -> None:
        self.placement = placement
        self.heads = sorted(heads)
        self.draw = draw
        self._left: list[str] = []

    def deal(self) -> UnitKey | None:
        """The next head; None at a placement without heads."""
        if not self._left:
            self._left = self.draw.sample(self.heads, len(self.heads))
        return (self.placement, self._left.pop()) if self._left else None


def _decks(runtime: Runtime, draw: random.Random) -> list[_Deck]:
    return [
        _Deck(placement, [head for at, head in runtime.heads if at == placement], draw)
        for placement in range(len(runtime.segments))
    ]


def _one_round(
    runtime: Runtime, x: Any, clock: Clock, decks: Sequence[_Deck], draw: random.Random, samples: Samples
) -> None:
    dealt = {deck.placement: key for deck in decks if (key := deck.deal()) is not None}

    def whole() -> None:
        times = run_whole(runtime, x, clock)
        samples.whole.add(times, 0, number=samples.rounds)
        if times.enqueue_ms is not None:
            samples.enqueue_ms.append(times.enqueue_ms)

    def chain() -> None:
        times = run_chain(runtime, x, clock, dealt)
        part = 0
        for placement, segment in enumerate(samples.segments):
            segment.add(times, part, number=samples.rounds)
            part += 1
            if placement in dealt:
                samples.heads[dealt[placement]].add(times, part, number=samples.rounds)
                part += 1
        samples.final.add(times, part, number=samples.rounds)

    for one_pass in draw.sample((whole, chain), 2):
        one_pass()
    samples.rounds += 1


def run_whole(runtime: Runtime, x: Any, clock: Clock) -> PassTimes:
    """Time one pass of the plain backbone, as one part."""
    with no_collection():
        clock.start()
        runtime.whole(x)
        return clock.stop()


def run_chain(runtime: Runtime, x: Any, clock: Clock, heads: Mapping[int, UnitKey]) -> PassTimes:
    """Time one pass of the chain, with a part for every segment, every head of `heads` (by placement) and final."""
    with no_collection():
        clock.start()
        state = runtime.begin(x)
        for placement, segment in enumerate(runtime.segments):
            state = segment(state)
            clock.mark()
            if placement in heads:
                runtime.decide(runtime.heads[heads[placement]](runtime.features(state)))
                clock.mark(waited=True)
        runtime.final(state)
        return clock.stop()


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep garbage collection out of a pass; between passes it may run."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _warm_up(runtime: Runtime, inputs: Sequence[Any], clock: Clock, draw: random.Random, cycle: int) -> float:
    """Run rounds whose times are thrown away; returns seconds."""
    decks = _decks(runtime, draw)
    discarded = Samples([UnitSamples() for _ in runtime.segments], {key: UnitSamples() for key in runtime.heads})
    begin = clock.now_s()
    while True:
        _one_round(runtime, draw.choice(inputs), clock, decks, draw, discarded)
        spent = clock.now_s() - begin
        recent = discarded.whole.host_ms[-20:]
        flat = len(recent) >= 6 and abs(statistics.drift(recent)) <= FLAT
        if discarded.rounds >= 2 * cycle and ((spent >= WARM_UP_S and flat) or spent >= LONGEST_WARM_UP_S):
            return spent
