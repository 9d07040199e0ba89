"""How busy the machine was during a measurement, and how much of that was not ours.

Two snapshots of the kernel's counters, before and after, give the time that this process ran, the time that its threads
were ready to run but had no core (run-queue wait), what other processes ran, and what a hypervisor stole. Each is None
where the kernel does not tell.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exitsearch.specs.profile import Scalar

# The machine's counters must have seen this share of our own processor time to be believed, once that is more than so
# many of its ticks (10 ms each) can miss.
_LEAST_SEEN = 0.5
_LEAST_CPU_S = 0.2
# A core counts as busy when it is so for more than half of the time that was looked at.
_BUSY = 0.5


@dataclass(frozen=True)
class Snapshot:
    """Counters at one moment.

    Attributes:
        wall_s: any clock that only runs forwards.
        cpu_s: processor time of this process, all threads.
        queued_s: run-queue wait of each of this process's threads, by its number.
        involuntary: involuntary context switches of this process.
        busy_s: processor time of all processes on the cores that this process may use.
        stolen_s: processor time of these cores that a hypervisor gave to others.
    """

    wall_s: float
    cpu_s: float
    queued_s: Mapping[str, float] | None = None
    involuntary: int | None = None
    busy_s: float | None = None
    stolen_s: float | None = None

    @classmethod
    def take(cls, proc: Path = Path("/proc")) -> Snapshot:
        """Read the counters now.

        Args:
            proc: where the proc file system is mounted.
        """
        busy, stolen = _machine_times(proc)
        return cls(time.perf_counter(), time.process_time(), _queued(proc), _involuntary(), busy, stolen)


@dataclass(frozen=True)
class Load:
    """The load between two snapshots.

    Attributes:
        wall_s: length of the measurement.
        cpu_share: our processor time over wall time without rests (2 threads at work: 2).
        queued_share: run-queue wait over wall time without rests, of all threads together; None unknown.
        switches_per_s: involuntary context switches per second; None unknown.
        others_cores: cores that other processes kept busy, on average; None unknown.
        stolen_share: stolen time over wall time; None unknown.
        cores: cores that this process may use.
        load_average: the kernel's one-minute load average at the end; None unknown.
    """

    wall_s: float
    cpu_share: float
    queued_share: float | None
    switches_per_s: float | None
    others_cores: float | None
    stolen_share: float | None
    cores: int
    load_average: float | None = None

    @classmethod
    def between(
        cls,
        before: Snapshot,
        after: Snapshot,
        *,
        cores: int,
        load_average: float | None = None,
        rested_s: float = 0.0,
    ) -> Load:
        """The load from one snapshot to a later one.

        Args:
            before: taken first.
            after: taken last.
            cores: that this process may use.
            load_average: the kernel's.
            rested_s: of the time between, in which this process slept on purpose; what is a share of the time that it
                wanted to run in leaves it out.
        """
        wall = max(after.wall_s - before.wall_s, 1e-9)
        working = max(wall - rested_s, 1e-9)
        cpu = after.cpu_s - before.cpu_s

        # A kernel that keeps no counters for the machine (a sandbox's) shows them standing still while we run.
        idle = (after.busy_s or 0) - (before.busy_s or 0) < _LEAST_SEEN * cpu and cpu > _LEAST_CPU_S

        def rate(first: float | None, last: float | None, own: float = 0.0, over: float = wall) -> float | None:
            return None if first is None or last is None else max(0.0, (last - first - own) / over)

        return cls(
            wall_s=wall,
            cpu_share=cpu / working,
            queued_share=_queued_since(before, after, working),
            switches_per_s=rate(before.involuntary, after.involuntary, over=working),
            others_cores=None if idle else rate(before.busy_s, after.busy_s, cpu),
            stolen_share=None if idle else rate(before.stolen_s, after.stolen_s),
            cores=cores,
            load_average=load_average,
        )

    def facts(self) -> dict[str, Scalar]:
        """For a profile's `state` group."""
        rounded = {key: round(value, 4) if value is not None else None for key, value in vars(self).items()}
        return {**rounded, "cores": self.cores}


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def busy_neighbours(seconds: float = 0.5) -> int:
    """Cores that other programs keep busy now, of those that this process may use; 0 where the kernel does not tell.

    Args:
        seconds: to look for; this process sleeps meanwhile.
    """
    before = Snapshot.take()
    time.sleep(seconds)
    others = Load.between(before, Snapshot.take(), cores=usable_cores()).others_cores
    return 0 if others is None else math.floor(others + _BUSY)


def load_average() -> float | None:
    """The one-minute load average; None where there is none."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None


def _queued(proc: Path) -> dict[str, float] | None:
    """Run-queue wait of each thread in seconds: the second number of its schedstat, in nanoseconds."""
    waits = {}
    for path in proc.glob("self/task/*/schedstat"):
        try:
            waits[path.parent.name] = int(path.read_text().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):  # a thread that has just ended
            continue
    return waits or None


def _queued_since(before: Snapshot, after: Snapshot, wall_s: float) -> float | None:
    """Wait over wall time of the threads that are there now; one that ended meanwhile took its counter along."""
    if before.queued_s is None or after.queued_s is None:
        return None
    return sum(wait - before.queued_s.get(thread, 0.0) for thread, wait in after.queued_s.items()) / wall_s


def _machine_times(proc: Path) -> tuple[float | None, float | None]:
    """Busy and stolen seconds of the cores that this process may use, from /proc/stat."""
    names = {f"cpu{core}" for core in os.sched_getaffinity(0)} if hasattr(os, "sched_getaffinity") else {"cpu"}
    busy = stolen = 0
    try:
        lines = [line.split() for line in (proc / "stat").read_text().splitlines()]
        mine = [words for words in lines if words and words[0] in names]
        for words in mine:
            user, nice, system, _idle, _wait, irq, softirq, steal = (int(word) for word in words[1:9])
            busy += user + nice + system + irq + softirq
            stolen += steal
    except (OSError, ValueError):
        return None, None
    tick = os.sysconf("SC_CLK_TCK")
    return (busy / tick, stolen / tick) if mine else (None, None)


def _involuntary() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
