"""Parser: argparse's, whose errors are one sentence like all others, with the nearest word to a typo."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from exitsearch.errors import InputError, one_of

_CHOICE = re.compile(r"argument (?P<what>\S+): invalid choice: (?P<found>'.*?'|\S+)")


class Parser(argparse.ArgumentParser):
    """argparse's parser. Its subparsers are of the same kind.

    Raises:
        InputError: instead of argparse's own way out, which prints every option and ends the process.
    """

    _given: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """argparse's own; remembers what was given, for the error."""
        self._given = () if args is None else tuple(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise the sentence: a typo is named before whatever argparse stumbled over in its wake."""
        typo = self._typo()
        if typo is not None:
            raise one_of_options(typo, self._option_string_actions, prog=self.prog)
        choice = _CHOICE.match(message)
        if choice is not None:
            raise self._wrong_choice(choice["what"], choice["found"].strip("'"), message)
        raise InputError(f"{message}{self._hint()}; see {self.prog} --help")

    def _hint(self) -> str:
        """What the first word may have been meant for, where it is an option before any command."""
        first = self._given[0] if self._given else ""
        close = difflib.get_close_matches(first, self._option_string_actions, n=1) if first.startswith("--") else []
        return f" (did you mean {close[0]!r}?)" if close and first not in close else ""

    def _typo(self) -> str | None:
        """The first long option given that this parser does not know; a parser of commands leaves it to them."""
        if any(isinstance(action, argparse._SubParsersAction) for action in self._actions):
            return None
        for text in self._given:
            name = text.split("=")[0]
            if name == "--":
                return None
            if name.startswith("--") and not any(known.startswith(name) for known in self._option_string_actions):
                return name
        return None

    def _wrong_choice(self, what: str, found: str, message: str) -> InputError:
        for action in self._actions:
            names = {*action.option_strings, action.metavar, action.dest}
            if action.choices is not None and names & {*what.split("/")}:
                rule = "command" if what == "COMMAND" else what if what.startswith("-") else f"word after {self.prog}"
                return one_of(rule, found, action.choices)
        return InputError(f"{message}; see {self.prog} --help")


def one_of_options(found: str, known: Any, *, prog: str) -> InputError:
    """The error for an option that does not exist; names the nearest ones, since all of them would fill the screen.

    >>> print(one_of_options("--budget-dst", ["--budget-dist", "--budget", "--seed"], prog="exitsearch search"))
    unknown option '--budget-dst' (did you mean '--budget-dist'?); see exitsearch search --help
    """
    close = difflib.get_close_matches(found, known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return InputError(f"unknown option {found!r}{hint}; see {prog} --help")
