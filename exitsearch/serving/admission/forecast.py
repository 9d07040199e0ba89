"""What answering one request takes on this machine now, in ms: preparing it, its exits, handing the answer on.

The exits' times are the bundle's table and the session's tracked slow-down. What a server adds is tracked in the same
way, each as a quantile of observed over usual time that forgets (`exitsearch.runtime.slow_down.SlowDown`): decoding and
resizing images, whose usual time is taken when the server starts, the way back from a worker to the network, and how
long a request lies in the socket before the event loop looks at it, which nobody sees but whoever sent it.
"""

from __future__ import annotations

import math
import statistics
import threading
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from exitsearch.runtime import Session
from exitsearch.runtime.deadline import Table, Times
from exitsearch.runtime.slow_down import SlowDown

# From a worker's last line to the answer's first byte on the way, measured with uvicorn on one core.
_REPLY_MS = 0.3
# How late the event loop of a server without requests looks at what has come.
_LOOP_MS = 0.1
# Of the margin: one late answer adds a tenth of the first exit's time, and ten of these times are the most.
_STEP, _MOST_SCALES, _HALF_LIFE_S = 0.1, 10.0, 2.0
# Half of the late answers that the quantile allows: the network is the sender's, who counts it all the same.
_LATE_PART = 0.5
# Clocks count seconds as floating-point numbers: what rounding alone takes away (a nanosecond) refuses nothing.
TOLERANCE_MS = 1e-6
# How often an image is prepared to learn how long that takes; the first is not counted.
_ROUNDS = 6


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Planned times in ms.

    Attributes:
        exits: from the prepared input to the answer of each exit, no other head run; the final one last.
        through: to the final exit's answer, every head on the way run.
        preparation: from an image to an input.
        reply: from a worker to the network, the time in the socket before, and a margin.
        values: of the exits; higher is better.
    """

    exits: tuple[float, ...]
    through: float
    preparation: float
    reply: float
    values: tuple[float, ...]

    @property
    def least(self) -> float:
        """The smallest budget that is enough where nothing waits."""
        return self.preparation + min(self.exits) + self.reply

    def work(self, left_ms: float, *, every_head: bool) -> float:
        """How long a worker is busy with a request that has so much of its budget left when it begins.

        Args:
            left_ms: of the budget.
            every_head: whether heads on the way are run, as with a confidence; else the best exit in time answers.
        """
        within = left_ms - self.preparation - self.reply + TOLERANCE_MS
        fits = [k for k, ms in enumerate(self.exits) if ms <= within]
        if not fits:
            return self.preparation
        if every_head:
            return self.preparation + min(self.through, within)
        # Of equally good ones the earliest, as the policy contract chooses.
        return self.preparation + self.exits[max(fits, key=lambda k: (self.values[k], -k))]


class Margin:
    """Time kept back so that only so many answers come behind their deadline, whatever is planned. For many threads.

    The session's tracker forgets while it observes, so that at some ten requests a second several in a hundred are late
    where it aims at one. Here each late answer adds `_STEP * share` of a scale to the margin, and each in time takes
    `_STEP * (1 - share)` off, so that the two balance at `1 - share` late ones. Only while nothing is answered does it
    halve with every half-life: else a margin that refuses everything would stand for ever.

    Args:
        share: of answers that are to be in time, above 0 and below 1.
        scale_ms: above 0.
        clock: seconds.
    """

    def __init__(self, *, share: float, scale_ms: float, clock: Callable[[], float]) -> None:
        assert 0 < share < 1
        assert scale_ms > 0
        self._up, self._down = _STEP * share * scale_ms, _STEP * (1 - share) * scale_ms
        self._most = _MOST_SCALES * scale_ms
        self._clock, self._lock = clock, threading.Lock()
        self._ms, self._as_of = 0.0, clock()

    @property
    def ms(self) -> float:
        """What is kept back now."""
        with self._lock:
            quiet_s = self._clock() - self._as_of - _HALF_LIFE_S
            return self._ms * math.pow(0.5, max(0.0, quiet_s) / _HALF_LIFE_S)

    def observe(self, *, in_time: bool) -> None:
        """Take in an answer."""
        ms = self.ms
        with self._lock:
            self._ms = min(max(ms - self._down if in_time else ms + self._up, 0.0), self._most)
            self._as_of = self._clock()


class Forecast:
    """Plans for a session. For many threads at once.

    Args:
        session: whose requests they are.
        preparation_ms: how long preparing an image takes as a rule, above 0.
        clock: seconds; the session's own.
        reply_ms: how long the way back takes as a rule, above 0.
    """

    def __init__(
        self, session: Session, *, preparation_ms: float, clock: Callable[[], float], reply_ms: float = _REPLY_MS
    ) -> None:
        assert preparation_ms > 0
        assert reply_ms > 0
        self._session = session
        table = Table(session.manifest.latency, quantile=session.quantile)
        positions = range(len(session.exits))
        self._ways = tuple(table.way(done=0, to=position) for position in positions)
        self._through = sum((_head(table, position) for position in positions[:-1]), start=self._ways[-1])
        self._preparation_ms, self._reply_ms = preparation_ms, reply_ms
        self._preparation = SlowDown(quantile=session.quantile, clock=clock)
        self._reply = SlowDown(quantile=session.quantile, clock=clock)
        self._loop: SlowDown | None = None
        late = _LATE_PART * (1 - session.quantile)
        self._margin = Margin(share=1 - late, scale_ms=max(self._ways[0].median, reply_ms), clock=clock)
        self._clock = clock

    def prepared(self, observed_ms: float) -> None:
        """Take in how long an image took."""
        self._preparation.observe(observed_ms, median_ms=self._preparation_ms)

    def replied(self, observed_ms: float) -> None:
        """Take in how long the way back took."""
        self._reply.observe(observed_ms, median_ms=self._reply_ms)

    def refused(self) -> None:
        """Say that a request was refused since the machine is slow, so that the session looks how slow it is."""
        self._session.refused()

    def answered(self, *, in_time: bool) -> None:
        """Take in whether an answer came in time."""
        self._margin.observe(in_time=in_time)

    def looked(self, late_ms: float) -> None:
        """Take in how late the event loop came to something; without any of it no time is planned for that."""
        if self._loop is None:
            self._loop = SlowDown(quantile=self._session.quantile, clock=self._clock)
        self._loop.observe(late_ms, median_ms=_LOOP_MS)

    @property
    def reply_ms(self) -> float:
        """What the way back, the time in the socket before and the margin are planned with now."""
        usual_ms, excess_ms = self._reply_ms, _planned(self._reply, self._reply_ms) - self._reply_ms
        if self._loop is not None:
            # Quantiles do not add up: hardly a request is held up both on its way in and on its way back.
            usual_ms, excess_ms = usual_ms + _LOOP_MS, max(excess_ms, _planned(self._loop, _LOOP_MS) - _LOOP_MS)
        return usual_ms + excess_ms + self._margin.ms

    def now(self, *, image: bool = True) -> Costs:
        """On this machine as it is now.

        Args:
            image: whether the request is an image; else an input that is prepared already.
        """
        preparation = _planned(self._preparation, self._preparation_ms) if image else 0.0
        pause = self._pause()
        return self._costs(lambda way: self._session.planned_ms(way + pause), preparation, self.reply_ms)

    def at_rest(self, *, image: bool = True, paused: bool = False) -> Costs:
        """On this machine with nothing beside it, as the bundle's table says.

        Args:
            image: as for `now`.
            paused: whether the pause before a request that comes now is paid for.
        """
        pause = self._pause() if paused else Times(0.0, 0.0)
        preparation = self._preparation_ms if image else 0.0
        return self._costs(lambda way: (way + pause).planned(), preparation, self._reply_ms)

    def _pause(self) -> Times:
        extra_ms = self._session.extra_ms
        return Times(extra_ms, extra_ms)

    def _costs(self, planned: Callable[[Times], float], preparation: float, reply: float) -> Costs:
        return Costs(
            exits=tuple(planned(way) for way in self._ways),
            through=planned(self._through),
            preparation=preparation,
            reply=reply,
            values=self._session.manifest.values,
        )


def _planned(slow: SlowDown, usual_ms: float) -> float:
    """What something is planned with now that takes so long as a rule."""
    pace, delay_ms = slow.now()
    return Times(usual_ms, usual_ms).planned(pace=pace, delay_ms=delay_ms)


def _head(table: Table, position: int) -> Times:
    """A head alone."""
    behind, before = (table.way(done=position, to=position, head=head) for head in (True, False))
    return Times(behind.median - before.median, behind.late - before.late)


def usual_preparation_ms(session: Session, *, clock: Callable[[], float]) -> float:
    """How long the session takes to prepare a JPEG of twice its input's sides, as a rule.

    Camera images are larger as a rule; the forecast learns that from what comes.
    """
    from PIL import Image

    channels, height, width = session.manifest.input_size
    file = BytesIO()
    Image.effect_noise((2 * width, 2 * height), 64).convert("RGB" if channels == 3 else "L").save(file, "JPEG")
    found = []
    for _ in range(_ROUNDS):
        begin = clock()
        session.prepare(BytesIO(file.getvalue()))
        found.append((clock() - begin) * 1e3)
    return max(statistics.median(found[1:]), 1e-3)
