"""What can go wrong, as one base error and its few children.

Every message is one sentence or two: the rule, what was found, what to do next. The command line prints it without a
traceback and ends with `exit_status`.
"""

from __future__ import annotations

from pathlib import Path

# What to do about a file that is not as it should be, where nothing more is known.
CORRECT = "correct the file, or make it again"


class ExitSearchError(Exception):
    """The work was well asked for, ran, and failed."""

    exit_status = 1


class InputError(ExitSearchError):
    """What the user gave breaks a rule: an option, a name, a combination of files."""

    exit_status = 2


class FileError(InputError):
    """A file is missing, truncated, foreign, of another schema version, or holds a value that is not allowed.

    Attributes:
        path: the file.
        problem: the rule and what was found.
        remedy: what to do; empty where the problem says it already.
    """

    def __init__(self, path: Path | str, problem: str, *, remedy: str = CORRECT) -> None:
        self.path = Path(path)
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{path}: {problem}; {remedy}" if remedy else f"{path}: {problem}")


class MismatchError(InputError):
    """Two documents, or a document and this machine, do not belong together."""


class UnsupportedError(InputError):
    """A backbone that cannot be cut, or a head that a placement cannot carry."""


class UnavailableError(InputError):
    """A device, a download or an optional package that this machine does not have."""


def shown(value: object) -> str:
    """What was found, for a message: at most 60 characters of its `repr`."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def one_of(what: str, found: object, allowed: object) -> InputError:
    """The error for a name outside a closed list: `unknown head type 'vit_e'; known: ...`."""
    import difflib

    names = sorted(str(name) for name in allowed)  # type: ignore[attr-defined]
    close = difflib.get_close_matches(str(found), names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return InputError(f"unknown {what} {str(found)!r}{hint}; known: {', '.join(names)}; name one of these")
