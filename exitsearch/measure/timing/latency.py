"""The latency protocol: rounds of whole passes, every unit timed in place, inside the running chain.

One round, its two passes in random order:

    (a)  whole    |------------------ plain backbone ------------------|          the yardstick
    (b)  chain    |--segment 0--|-head-|--segment 1--|-head-|--- ... --|--final--|
                  ^             ^      ^             ^      ^          ^         ^   one clock reading each

- In a chain pass exit heads run right after the segments that they attach to, at a random share of the placements,
  another in every pass. Each placement deals its heads from a shuffled deck, so that over as many passes as it has
  heads each is measured once, in random order. A head's time includes its decision: softmax, maximum, and the copy of
  the answer to the host. The final exit and the plain backbone end with their outputs: nothing is left to decide.
- Times of isolated blocks and sums of leaf modules are not additive (caches, functional operators); these are, to
  about 1%, and `measure_paths` checks it on paths that were never measured.
- Segments are measured behind other segments and behind heads, apart: the first is their latency, the difference their
  *resume*. On a CPU a head leaves the caches full of its own weights. On a device with a queue the host runs ahead, and
  a decision empties the queue: the segment after a head begins on an idle device, and waits for its first launch. A
  path is the sum of its segments, its heads, and the resume of what follows each head.
- On a device with a queue a quarter of the boundaries have an empty part, which shows what the clock itself costs
  (`samples.py`).
- The whole pass shows drift, and its ratio to the median whole pass is a sample of the slow-down factor. The machine's
  speed in the round is taken out of every other sample (`samples.py`); the raw samples are kept.
- Warm-up: by the rule of `warm_up.py`, and until every head has run twice.
- Stop: when every unit is settled, or when `max_seconds` are spent. A unit is settled when the half-width of its
  median's 95% interval is at most `precision` times its median, or times an equal share of the whole pass among the
  units of the longest path. The share is there for small heads, whose own size is lost in the clock's noise: no path
  can be off by more than `precision` of the whole on their account, even if all were off in one direction.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from exitsearch.measure.runtimes.base import Runtime, UnitKey
from exitsearch.measure.timing import statistics
from exitsearch.measure.timing.clock import Clock, PassTimes
from exitsearch.measure.timing.samples import Samples, UnitSamples
from exitsearch.measure.timing.warm_up import warm_up

# Rounds that are run however little time is given: every head is measured at least this often.
FEWEST_CYCLES = 3
# Share of the boundaries of a chain pass that have an empty part, on a device with a queue: enough to know the clock's
# own cost about as well as the units, few enough to leave most heads without one.
EMPTY_SHARE = 0.25
# Whether all is settled is asked again after this share more rounds: asking takes time too.
ASK_AGAIN = 0.05

Progress = Callable[[float, str], None]


def no_progress(done_fraction: float, text: str) -> None:
    """Progress that nobody watches."""


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
    samples, discarded = (Samples.start(len(runtime.segments), list(runtime.heads)) for _ in range(2))
    cycle = max([1, *(len(deck.heads) for deck in decks)])
    with torch.inference_mode():
        progress(0.0, "warming up")
        every = _decks(runtime, rehearsal)

        def one_round() -> float:
            _one_round(runtime, rehearsal.choice(inputs), clock, every, rehearsal, discarded, all_heads=True)
            return discarded.whole.host_ms[-1]

        samples.warm_up_s = warm_up(one_round, clock, fewest_rounds=2 * cycle)
        begin, done = clock.now_s(), 0.0
        while True:
            for _ in range(max(1, int(ASK_AGAIN * samples.rounds / cycle)) * cycle):
                _one_round(runtime, draw.choice(inputs), clock, decks, draw, samples)
            samples.seconds = clock.now_s() - begin
            samples.unsettled = unsettled_units(samples, precision)
            spent = samples.seconds / max_seconds if max_seconds > 0 else 1.0
            enough = all(len(unit.host_ms) >= FEWEST_CYCLES for _, unit in samples.units())
            if enough and (not samples.unsettled or spent >= 1):
                break
            count = sum(1 for _ in samples.units())
            done = max(done, min(0.99, max(spent, 1 - len(samples.unsettled) / count)))
            progress(done, f"round {samples.rounds}, {count - len(samples.unsettled)} of {count} units settled")
    progress(1.0, f"{samples.rounds} rounds in {samples.seconds:.1f} s")
    return samples


def unsettled_units(samples: Samples, precision: float) -> dict[str, float]:
    """Units whose interval is too wide by the rule above, with half-width over the tolerated half-width."""
    longest_path = len(samples.segments) + len({placement for placement, _ in samples.heads}) + 1
    floor = statistics.median(samples.whole.host_ms) / longest_path
    wide = {}
    for name, _, times in samples.at_median_speed():
        if not len(times):
            wide[name] = float("inf")
            continue
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
    runtime: Runtime,
    x: Any,
    clock: Clock,
    decks: Sequence[_Deck],
    draw: random.Random,
    samples: Samples,
    *,
    all_heads: bool = False,
) -> None:
    share = 1.0 if all_heads else draw.random()
    taken = [deck for deck in decks if share == 1.0 or draw.random() < share]
    dealt = {deck.placement: key for deck in taken if (key := deck.deal()) is not None}
    empty = {deck.placement for deck in decks if draw.random() < EMPTY_SHARE} if clock.marks_cost else set()

    def whole() -> None:
        times = run_whole(runtime, x, clock)
        samples.whole.add(times, 0, number=samples.rounds)
        if times.enqueue_ms is not None:
            samples.enqueue_ms.append(times.enqueue_ms)

    def chain() -> None:
        _share_out(run_chain(runtime, x, clock, dealt, empty=empty), dealt, empty, samples)

    for one_pass in draw.sample((whole, chain), 2):
        one_pass()
    samples.rounds += 1


def _share_out(times: PassTimes, dealt: Mapping[int, UnitKey], empty: Collection[int], samples: Samples) -> None:
    """Give each part of a chain pass to the unit that it is a sample of."""
    part, resumed, late, last = 0, False, False, len(samples.segments)

    def add(unit: UnitSamples) -> None:
        nonlocal part
        unit.add(times, part, number=samples.rounds)
        part += 1

    def measured(key: int | UnitKey) -> UnitSamples:
        """Where a unit's sample belongs, if it does not follow a head."""
        return samples.delayed.setdefault(key, UnitSamples()) if late else samples.timed(key)

    for placement in range(last):
        add(samples.resumed[placement] if resumed else measured(placement))
        late = placement in empty
        if late:
            add(samples.empty.setdefault((placement, resumed), UnitSamples()))
        resumed = False
        if placement in dealt:
            add(measured(dealt[placement]))
            # The wait that ends a head empties the queue: what came before it delays nothing after it.
            resumed, late = placement + 1 in samples.resumed, False
    add(samples.resumed[last] if resumed else measured(last))
    assert part == len(times.parts_ms)


def run_whole(runtime: Runtime, x: Any, clock: Clock) -> PassTimes:
    """Time one pass of the plain backbone, as one part."""
    with no_collection():
        clock.start()
        runtime.whole(x)
        return clock.stop()


def run_chain(
    runtime: Runtime, x: Any, clock: Clock, heads: Mapping[int, UnitKey], *, empty: Collection[int] = ()
) -> PassTimes:
    """Time one pass of the chain, with a part for every segment, every head and final.

    Args:
        runtime: the units.
        x: one batch.
        clock: fits the device.
        heads: the heads that run, by placement.
        empty: placements where an empty part follows the segment.
    """
    with no_collection():
        clock.start()
        state = runtime.begin(x)
        for placement, segment in enumerate(runtime.segments):
            state = segment(state)
            clock.mark()
            if placement in empty:
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
