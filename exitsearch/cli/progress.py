"""How far work is: a bar on a terminal, elsewhere a line every ten seconds, with what is left and the best so far.

Both go to stderr, so that stdout holds results alone.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

from exitsearch.report.terminal.durations import duration

ProgressCallback = Callable[[float, str], None]

# From one line to the next where there is no terminal.
_LINE_SECONDS = 10.0
# Work that has just begun and says nothing may end before anybody has read of it.
_SHORT_SECONDS = 1.0
_BAR, _SHORT_BAR, _NARROW = 30, 12, 100


class Clock:
    """Seconds, and when a line was last told, whichever work it was of.

    Many short works one after the other say as much as a long one: a line every ten seconds of work. Time in which
    nothing is at work does not count.
    """

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self.told = self._ended = seconds()
        self._works = 0

    def begin(self) -> None:
        """A work begins, perhaps within another."""
        if self._works == 0:
            self.told += self.seconds() - self._ended
        self._works += 1

    def end(self) -> None:
        """It has come to its end."""
        self._works -= 1
        self._ended = self.seconds()


class Lines:
    """Progress as plain lines, for files and for the logs of job queues.

    Args:
        title: of the work; begins every line.
        clock: of all works of this process, whose last line may be of another.
    """

    def __init__(self, title: str, *, clock: Clock) -> None:
        self._title, self._clock = title, clock
        self._begun = clock.seconds()
        # Where a work that goes on from an earlier run was taken up, and when; and where it is.
        self._first: tuple[float, float] | None = None
        self._at: tuple[float, str] | None = None
        self._lock = threading.Lock()

    def __call__(self, share: float, words: str = "") -> None:
        """Take where the work stands, and print a line if the last one is long ago."""
        if self._first is None:
            self._first = share, self._clock.seconds()
        self._at = share, words
        self.tell()

    def tell(self) -> None:
        """Print a line if the last one is long ago."""
        with self._lock:
            now = self._clock.seconds()
            silent = self._at is None and now - self._begun < _SHORT_SECONDS
            if silent or now - self._clock.told < _LINE_SECONDS:
                return
            self._clock.told = now
            print(f"{self._title}: {self._words(now)}", file=sys.stderr, flush=True)

    def _words(self, now: float) -> str:
        so_far = f"{duration(now - self._begun)} so far"
        if self._at is None or self._first is None:
            return so_far
        (share, words), (begun, since) = self._at, self._first
        left = f"{duration((now - since) * (1 - share) / (share - begun))} left" if share > begun else so_far
        return ", ".join(part for part in (f"{share:.0%}", words, left) if part)

    @contextmanager
    def running(self) -> Iterator[Lines]:
        """Inside, lines come also while the work has nothing to say: somebody waits."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(max(_SHORT_SECONDS, self._clock.told + _LINE_SECONDS - self._clock.seconds())):
                self.tell()

        self._clock.begin()
        thread = threading.Thread(target=watch, name="progress", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            thread.join()
            self._clock.end()


_CLOCK = Clock()


@contextmanager
def progress(title: str, *, console: Console | None = None) -> Iterator[ProgressCallback]:
    """Progress on stderr: a bar on a terminal, elsewhere a line every ten seconds.

    Yields a function taking the share done (0..1) and a few words.

    Args:
        console: where a bar is drawn; None: stderr.
    """
    console = console or Console(stderr=True, highlight=False)
    if not console.is_terminal:
        with Lines(title, clock=_CLOCK).running() as lines:
            yield lines
        return
    with bars(console) as bar:
        task = bar.add_task(title, total=1.0, words="")

        def report(share: float, words: str = "") -> None:
            bar.update(task, completed=share, words=words)

        yield report
        bar.update(task, completed=1.0)


def bars(console: Console) -> Progress:
    """A line a work, in which nothing but the words gives way where it is narrow."""
    narrow = console.width < _NARROW
    words = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=_SHORT_BAR if narrow else _BAR),
        TaskProgressColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[words]}", markup=False, table_column=words),
        console=console,
        expand=True,
    )
