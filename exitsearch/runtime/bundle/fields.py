"""Reading plain JSON values, each with a type and a range: what pydantic is elsewhere, in a few lines.

Faults name the place (`latency.segments[1].median`), the rule and what was found.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection
from typing import Any, NoReturn, TypeVar

from ..errors import shown

T = TypeVar("T")

# No document of ours is nested deeper than some 10 levels; Python's own parser ends at about 1,000.
_MOST_CHARACTERS = 16 * 2**20


class FieldError(ValueError):
    """A value breaks a rule; the text is a sentence without its remedy."""


def parse_document(raw: bytes) -> dict[str, Any]:
    """JSON of which the outermost value is an object, every key once, no NaN or Infinity.

    Raises:
        FieldError: anything else.
    """
    if len(raw) > _MOST_CHARACTERS:
        raise FieldError(f"a manifest has at most {_MOST_CHARACTERS} bytes, found {len(raw)}")
    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except FieldError:
        raise
    except RecursionError:
        raise FieldError("not a JSON document that can be read: it is nested too deep") from None
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, whole numbers of too many digits
        raise FieldError(f"not a JSON document that can be read: {str(error).splitlines()[0][:200]}") from None
    if not isinstance(found, dict):
        raise FieldError(f"must hold one JSON object, found {shown(found)}")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, every key of which stands there once: which of two values counts is a parser's whim."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise FieldError(f"every key stands once in an object, found {shown(max(names, key=names.count))} again")
    return found


def _no_constant(name: str) -> NoReturn:
    raise FieldError(f"numbers must be finite, found {name}")


class Fields:
    """An object of a document, read key by key.

    Args:
        found: what stands in the document.
        where: its place there; empty for the outermost.
        known: every key that may stand in it.
    """

    def __init__(self, found: object, *, where: str = "", known: Collection[str]) -> None:
        if not isinstance(found, dict):
            raise FieldError(f"{where or 'the document'} must be an object, found {shown(found)}")
        if strange := sorted(set(found) - set(known)):
            raise FieldError(f"unknown key {shown(self._at(where, strange[0]))}; known: {', '.join(sorted(known))}")
        self._found: dict[str, object] = found
        self._where = where

    @staticmethod
    def _at(where: str, name: str) -> str:
        return f"{where}.{name}" if where else name

    def place(self, name: str) -> str:
        """Where a key stands, for messages."""
        return self._at(self._where, name)

    def get(self, name: str) -> object:
        """Whatever stands under a key that has to be there."""
        if name not in self._found:
            raise FieldError(f"{self.place(name)} is missing")
        return self._found[name]

    def optional(self, name: str) -> object:
        """Whatever stands under a key, None where it does not stand there."""
        return self._found.get(name)

    def text(self, name: str, *, longest: int = 1000) -> str:
        """A text of at most so many characters."""
        return text(self.get(name), where=self.place(name), longest=longest)

    def choice(self, name: str, allowed: Collection[str]) -> str:
        """One of some texts."""
        found = self.get(name)
        if not isinstance(found, str) or found not in allowed:
            raise FieldError(f"{self.place(name)} must be one of {', '.join(allowed)}, found {shown(found)}")
        return found

    def whole(self, name: str, *, low: int, high: int) -> int:
        """A whole number within bounds, both included."""
        return whole(self.get(name), where=self.place(name), low=low, high=high)

    def number(self, name: str, *, low: float, high: float) -> float:
        """A number within bounds, both included."""
        return number(self.get(name), where=self.place(name), low=low, high=high)

    def items(self, name: str, read: Callable[[object, str], T], *, least: int = 0, most: int) -> tuple[T, ...]:
        """A list, each of its items read by `read(value, place)`."""
        return items(self.get(name), read, where=self.place(name), least=least, most=most)


def text(found: object, *, where: str, longest: int = 1000) -> str:
    """A text of at most so many characters."""
    if not isinstance(found, str) or len(found) > longest or not _is_whole_text(found):
        raise FieldError(f"{where} must be a text of at most {longest} characters, found {shown(found)}")
    return found


def _is_whole_text(found: str) -> bool:
    """JSON can write halves of a character, which no file takes, and controls, which a terminal obeys."""
    return all(
        character >= " " and character != "\x7f" and not "\ud800" <= character <= "\udfff" for character in found
    )


def whole(found: object, *, where: str, low: int, high: int) -> int:
    """A whole number within bounds, both included."""
    if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= high:
        raise FieldError(f"{where} must be a whole number from {low} to {high}, found {shown(found)}")
    return found


def number(found: object, *, where: str, low: float, high: float) -> float:
    """A finite number within bounds, both included."""
    if isinstance(found, bool) or not isinstance(found, int | float) or not low <= found <= high:
        raise FieldError(f"{where} must be a number from {low:g} to {high:g}, found {shown(found)}")
    found = float(found)
    assert math.isfinite(found)
    return found


def items(found: object, read: Callable[[object, str], T], *, where: str, least: int = 0, most: int) -> tuple[T, ...]:
    """A list of at least and at most so many items, each read by `read(value, place)`."""
    if not isinstance(found, list) or not least <= len(found) <= most:
        count = f"{least} items" if least == most else f"{least} to {most} items"
        what = f"{len(found)} of them" if isinstance(found, list) else shown(found)
        raise FieldError(f"{where} must be a list of {count}, found {what}")
    return tuple(read(item, f"{where}[{number}]") for number, item in enumerate(found))
