"""Where commands print: text for people on stdout, progress and notes on stderr, one JSON object with `--json`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TextIO

from rich.console import Console

from exitsearch.cli.progress import ProgressCallback, progress
from exitsearch.report.terminal.layout import spaced
from exitsearch.report.terminal.next_steps import step

__all__ = ["ProgressCallback", "Terminal", "err", "lines", "next_step", "note", "out", "print_json", "progress", "say"]

# Wide enough for our tables where nobody says how wide it is: in a file, in a pipe.
_WIDTH = 120


def out() -> Console:
    """The console for results."""
    return Console(width=_width(sys.stdout), highlight=False)


def err() -> Console:
    """The console for progress and notes."""
    return Console(stderr=True, width=_width(sys.stderr), highlight=False)


def _width(stream: TextIO) -> int | None:
    """None where rich finds it out: on a terminal, or where COLUMNS says it."""
    return None if stream.isatty() or os.environ.get("COLUMNS", "").isdecimal() else _WIDTH


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
        for renderable in spaced(*renderables):
            console.print(renderable, markup=False) if isinstance(renderable, str) else console.print(renderable)


def lines(args: argparse.Namespace, *texts: str) -> None:
    """The same of lines that hold paths or commands: never broken, so that they can be copied."""
    if not getattr(args, "json", False):
        console = out()
        for text in texts:
            console.print(text, markup=False, soft_wrap=True)


def next_step(args: argparse.Namespace, text: str | None) -> None:
    """The last line of a command: what to do next."""
    if text is not None:
        lines(args, step(text))


class Terminal:
    """The `Watch` of the commands: bars and notes on stderr.

    Args:
        quiet: no progress; notes are said all the same, since they are about the results.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    @classmethod
    def of(cls, args: argparse.Namespace) -> Terminal:
        """As `--quiet` asks."""
        return cls(quiet=args.quiet)

    def progress(self, title: str) -> AbstractContextManager[ProgressCallback]:
        """A progress bar, or lines."""
        return nullcontext(_unheard) if self._quiet else progress(title)

    def note(self, sentence: str) -> None:
        """One sentence."""
        note(sentence)


def _unheard(share: float, words: str = "") -> None:
    """Progress that nobody wants to see."""
