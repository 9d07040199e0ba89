"""What can go wrong while a bundle is loaded or asked: one base error and its four children.

Every message is one sentence or two: the rule, what was found, what to do next. These are errors of their own, since
this folder is a package of its own on devices that have nothing else of the project.
"""

from __future__ import annotations

from pathlib import Path

# What to do about a bundle that is not as it was written.
FETCH_AGAIN = "copy the bundle again from where it was made, or write it again with exitsearch export"


class RuntimeFault(Exception):
    """Anything that this package refuses; `str` of it is for people."""

    exit_status = 2


class BundleError(RuntimeFault):
    """A bundle is missing, incomplete, altered, foreign, or holds what is not allowed.

    Attributes:
        path: the bundle, or the file in it.
        problem: the rule and what was found.
    """

    def __init__(self, path: Path | str, problem: str, *, remedy: str = FETCH_AGAIN) -> None:
        self.path = Path(path)
        self.problem = problem
        super().__init__(f"{path}: {problem}; {remedy}")


class RequestError(RuntimeFault):
    """What was asked of a session breaks a rule: an input's shape or values, a budget, an image."""


class RunError(RuntimeFault):
    """A loaded bundle failed over an input: a graph stopped with an error, or gave outputs that are not numbers."""

    exit_status = 1


class MissingError(RuntimeFault):
    """An optional package is not installed here, or is too old."""


def shown(value: object) -> str:
    """What was found, for a message: at most 60 characters of its `repr`."""
    try:
        text = repr(value)
    except Exception:  # of a stranger's object, or a whole number of too many digits
        text = f"something of type {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
