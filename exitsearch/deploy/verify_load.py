"""Around what is verified: neighbours that were started on purpose, others that were not, and this process's heap."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from exitsearch.errors import ExitSearchError
from exitsearch.measure.machine.load import Load
from exitsearch.measure.verdict import CONTENTION, NEIGHBOURS, STEAL

# Ends by itself when whoever started it is gone, however that ended. Looks about every 10 ms.
_BUSY = """
import os, sys
parent = int(sys.argv[1])
sys.stdout.write("x")
sys.stdout.flush()
while os.getppid() == parent:
    for _ in range(200000):
        pass
"""


@contextmanager
def busy_processes(count: int) -> Iterator[list[int]]:
    """So many processes that compute without a pause, from here to the end of the block; yields their numbers.

    Raises:
        ExitSearchError: one cannot be started.
    """
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            process = subprocess.Popen([sys.executable, "-c", _BUSY, str(os.getpid())], stdout=subprocess.PIPE)
            started.append(process)
        for process in started:  # not before all of them are at work
            assert process.stdout is not None
            process.stdout.read(1)
        yield [process.pid for process in started]
    except OSError as error:
        raise ExitSearchError(
            f"a busy process for --load cannot be started ({error.strerror or error}); ask for fewer"
        ) from None
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@contextmanager
def small_heap() -> Iterator[None]:
    """Keep what lives here already out of the garbage collector's sight, which goes on with what comes.

    This process holds torch and a data set, half a million objects that a full collection takes a quarter of a second
    for. A process that deploys has none of them, so that its requests are not held up by that.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def disturbance(load: Load, *, threads: int, own: int = 0) -> str | None:
    """What disturbed a run, in words; None: nothing that the kernel tells of.

    Args:
        load: of the machine meanwhile.
        threads: that the run computed with.
        own: busy processes that were started on purpose.
    """
    found = []
    if load.others_cores is not None:
        others = load.others_cores - min(own, load.cores)
        if others - max(0, load.cores - threads - own) > NEIGHBOURS.noisy_above:
            found.append(f"other programs kept {others:.1f} of {load.cores} cores busy")
    if own == 0 and (load.queued_share or 0.0) > CONTENTION.noisy_above:
        found.append(f"this process waited for a core during {load.queued_share:.0%} of the time")
    if (load.stolen_share or 0.0) > STEAL.noisy_above:
        found.append(f"the hypervisor gave {load.stolen_share:.0%} of the time to other machines")
    if not found:
        return None
    average = "" if load.load_average is None else f" (load average {load.load_average:.1f})"
    return " and ".join(found) + average
