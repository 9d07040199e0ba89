"""Watch: whoever wants to see how long work goes on. The command line shows bars; Python hears warnings alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

# (share of the work that is done, 0 to 1; words for where it stands)
Progress = Callable[[float, str], None]


class Watch(Protocol):
    """Takes what a step has to say while it runs."""

    def progress(self, title: str) -> AbstractContextManager[Progress]:
        """One piece of work; inside, it is called with the share that is done and a few words."""

    def note(self, sentence: str) -> None:
        """One sentence that a person should know."""


class Silent:
    """Shows nothing, where another process says the same."""

    def progress(self, title: str) -> AbstractContextManager[Progress]:
        """Takes everything and shows nothing."""

        def report(share: float, words: str = "") -> None:
            pass

        return nullcontext(report)

    def note(self, sentence: str) -> None:
        """Said elsewhere."""


class Quiet(Silent):
    """Shows no progress; notes become warnings, so that nothing is lost."""

    def note(self, sentence: str) -> None:
        """A `UserWarning`."""
        warnings.warn(sentence, stacklevel=2)
