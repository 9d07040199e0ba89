"""Where commands print: text for people on stdout, progress and notes on stderr, one JSON object with `--json`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from exitsearch.report.terminal.durations import duration

ProgressCallback = Callable[[float, str], None]

# From one line to the next where there is no terminal.
_LINE_SECONDS = 10.0


def out() -> Console:
    """The console for results. Wide enough for our tables when piped into a file."""
    return Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def err() -> Console:
    """The console for progress and notes."""
    return Console(stderr=True, width=None if sys.stderr.isatty() else 120, highlight=False)


def note(sentence: str) -> None:
    """Print one sentence that a person should know, on stderr."""
    err().print(sentence, style="yellow", markup=False, soft_wrap=True)


def print_json(data: Any) -> None:
    """Print one JSON object on stdout."""
    print(json.dumps(data, indent=2, allow_nan=False))


def say(args: argparse.Namespace, *renderables: Any) -> None:
    """Print for people, on stdout, unless `--json` asked for JSON alone."""
    if not getattr(args, "json", False):
        console = out()
        for renderable in renderables:
            console.print(renderable, markup=False) if isinstance(renderable, str) else console.print(renderable)


@contextmanager
def progress(title: str) -> Iterator[ProgressCallback]:
    """Progress on stderr: a bar on a terminal, elsewhere a line every ten seconds.

    Yields a function taking the share done (0..1) and a few words.
    """
    if not sys.stderr.isatty():
        yield Lines(title)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}", markup=False),
        console=err(),
    ) as bar:
        task = bar.add_task(title, total=1.0, words="")

        def report(share: float, words: str = "") -> None:
            bar.update(task, completed=share, words=words)

        yield report
        bar.update(task, completed=1.0)


class Lines:
    """Progress as plain lines, for files and for the logs of job queues.

    Args:
        title: of the work; begins every line.
        clock: gives seconds.
    """

    def __init__(self, title: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._title, self._clock = title, clock
        self._told = clock()
        # Where a work that goes on from an earlier run was taken up, and when.
        self._first: tuple[float, float] | None = None

    def __call__(self, share: float, words: str = "") -> None:
        """Print a line if the last one is long ago."""
        now = self._clock()
        if self._first is None:
            self._first = share, now
        if now - self._told < _LINE_SECONDS:
            return
        self._told = now
        begun, since = self._first
        left = f"{duration((now - since) * (1 - share) / (share - begun))} left" if share > begun else ""
        parts = ", ".join(part for part in (f"{share:.0%}", words, left) if part)
        print(f"{self._title}: {parts}", file=sys.stderr, flush=True)


class Terminal:
    """The `Watch` of the commands: bars and notes on stderr."""

    def progress(self, title: str) -> AbstractContextManager[ProgressCallback]:
        """A progress bar."""
        return progress(title)

    def note(self, sentence: str) -> None:
        """One sentence."""
        note(sentence)
