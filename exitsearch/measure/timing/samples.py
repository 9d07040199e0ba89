"""What the latency protocol measured: samples of every unit, and what is taken out of them before they are summed up.

Two things are taken out. The machine's speed: a shared machine's speed jumps (by a fifth and more, says the verdict of
some runs in the README), and a head is measured in few rounds, so its plain median would depend on which. Every sample
is divided by the running median of the whole pass over its median. And what the clock itself costs, on devices with a
queue: there an event takes the host as long as a third of a kernel's launch. An *empty part*, between two marks with
nothing in between, shows what one mark costs at that point: its own length where the host paces the device, and what
the unit after it takes longer where the host is only just ahead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitsearch.measure.runtimes.base import UnitKey
from exitsearch.measure.timing import statistics
from exitsearch.measure.timing.clock import PassTimes


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

    def at_median_speed(self, speeds: NDArray[np.float64]) -> NDArray[np.float64]:
        """The host's times with the machine's speed in their round [rounds] taken out."""
        return np.array(self.host_ms) / speeds[self.rounds]


@dataclass
class Samples:
    """Everything that a run of the protocol measured.

    Attributes:
        segments: each segment where it did not follow a head.
        heads: each head.
        resumed: segments (by placement) and the final part (by the number of segments) where they followed a head.
        empty: empty parts at the end of a segment, by placement and whether that segment had followed a head.
        delayed: heads, and parts that did not follow a head, where an empty part came before.
        enqueue_ms: of each whole pass, until the host had handed over its work; empty on the CPU.
        seconds: length of the measurement without warm-up.
        warm_up_s: length of the warm-up.
        unsettled: names of the units whose interval is still too wide, with half-width over tolerated half-width.
    """

    segments: list[UnitSamples]
    heads: dict[UnitKey, UnitSamples]
    final: UnitSamples = field(default_factory=UnitSamples)
    whole: UnitSamples = field(default_factory=UnitSamples)
    resumed: dict[int, UnitSamples] = field(default_factory=dict)
    empty: dict[tuple[int, bool], UnitSamples] = field(default_factory=dict)
    delayed: dict[int | UnitKey, UnitSamples] = field(default_factory=dict)
    enqueue_ms: list[float] = field(default_factory=list)
    rounds: int = 0
    seconds: float = 0.0
    warm_up_s: float = 0.0
    unsettled: dict[str, float] = field(default_factory=dict)

    @classmethod
    def start(cls, placements: int, heads: Iterator[UnitKey] | list[UnitKey]) -> Samples:
        """No samples yet.

        Args:
            placements: how many there are.
            heads: every head.
        """
        keys = list(heads)
        followed = sorted({placement + 1 for placement, _ in keys})
        return cls(
            segments=[UnitSamples() for _ in range(placements)],
            heads={key: UnitSamples() for key in keys},
            resumed={part: UnitSamples() for part in followed},
        )

    def timed(self, key: int | UnitKey) -> UnitSamples:
        """Where a head's samples stand, or those of a part behind another: a placement's segment, or last the final."""
        if not isinstance(key, int):
            return self.heads[key]
        return self.segments[key] if key < len(self.segments) else self.final

    def units(self) -> Iterator[tuple[str, UnitSamples]]:
        """Every unit with its name in messages."""
        for placement, samples in enumerate(self.segments):
            yield f"segment {placement}", samples
        for (placement, head), samples in self.heads.items():
            yield f"head {head} at placement {placement}", samples
        for part, samples in self.resumed.items():
            yield f"segment {part} after a head" if part < len(self.segments) else "final after a head", samples
        yield "final", self.final
        yield "whole", self.whole

    def at_median_speed(self) -> Iterator[tuple[str, UnitSamples, NDArray[np.float64]]]:
        """Every unit's name, samples, and times in ms with the machine's speed and the clock's own cost taken out.

        The whole pass's times are raw.
        """
        speeds = statistics.machine_speeds(self.whole.host_ms)
        clock_ms = self._clock_ms(speeds)
        for name, unit in self.units():
            if unit is self.whole:
                yield name, unit, np.array(unit.host_ms)
            else:
                yield name, unit, np.maximum(unit.at_median_speed(speeds) - clock_ms.get(id(unit), 0.0), 0.0)

    @property
    def parts_ms(self) -> float:
        """The backbone's parts together, without any exit: segments and final, at the whole pass's median speed."""
        parts = {id(part) for part in (*self.segments, self.final)}
        return sum(statistics.median(times) for _, unit, times in self.at_median_speed() if id(unit) in parts)

    @property
    def resume_ms(self) -> list[float]:
        """What each segment, and last the final part, takes longer where it follows a head [placements + 1]."""
        times = {id(unit): statistics.median(times) for _, unit, times in self.at_median_speed() if len(times)}
        found = [0.0] * (len(self.segments) + 1)
        for part, unit in self.resumed.items():
            # Where the host paces the device nothing is lost, and noise alone makes a difference below 0.
            found[part] = max(0.0, times.get(id(unit), 0.0) - times[id(self.timed(part))])
        return found

    def resumes(self) -> list[dict[str, Any]]:
        """The fields of each `PartCost` that tell of it after a head [placements + 1]."""
        found: list[dict[str, Any]] = [{"resume_ms": lost} for lost in self.resume_ms]
        for part, unit in self.resumed.items():
            found[part]["resumed_samples_ms"] = [round(sample, 6) for sample in unit.host_ms]
            found[part]["resumed_rounds"] = unit.rounds
        return found

    @property
    def slowdown(self) -> list[float]:
        """Each whole pass over the median whole pass."""
        middle = statistics.median(self.whole.host_ms)
        return [sample / middle for sample in self.whole.host_ms] if middle > 0 else []

    def _clock_ms(self, speeds: NDArray[np.float64]) -> dict[int, float]:
        """What the clock's own mark adds to each unit's time, by the unit's id."""
        found: dict[int, float] = {}
        for (placement, resumed), unit in self.empty.items():
            measured = self.resumed[placement] if resumed else self.segments[placement]
            found[id(measured)] = statistics.median(unit.at_median_speed(speeds))
        # A head has few samples of its own behind an empty part: those of its placement are taken together.
        longer: dict[int | tuple[int], list[float]] = {}
        for key, unit in self.delayed.items():
            if self.timed(key).host_ms:
                more = unit.at_median_speed(speeds) - statistics.median(self.timed(key).at_median_speed(speeds))
                longer.setdefault(_place(key), []).extend(more)
        for key in (*range(len(self.segments) + 1), *self.heads):
            if _place(key) in longer:
                own = id(self.timed(key))
                found[own] = found.get(own, 0.0) + max(0.0, statistics.median(longer[_place(key)]))
        return found


def _place(key: int | UnitKey) -> int | tuple[int]:
    """A part by itself, and all heads of one placement together."""
    return key if isinstance(key, int) else (key[0],)
