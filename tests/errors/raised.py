"""Every error that a user can cause, read from the source: one line a place that makes one.

A line is the error's class, a tab, and its text with what is filled in between braces. Texts stand by room in
`texts/<room>.txt`; `python tests/errors/raised.py` writes these lists anew, and the difference is to be read before it
is committed: does every new text say the rule, what was found, and what to do?
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from exitsearch.errors import CORRECT
from exitsearch.runtime.errors import FETCH_AGAIN

PACKAGE = Path(__file__).parents[2] / "exitsearch"
LISTS = Path(__file__).parent / "texts"

# What users see. FieldError and ValueError are of our own readers, which make a FileError or BundleError of them.
SHOWN = {
    "ArgumentTypeError",
    "BundleError",
    "ExitSearchError",
    "FileError",
    "InputError",
    "MismatchError",
    "MissingError",
    "NotFiniteError",
    "NotKeptError",
    "RequestError",
    "RunError",
    "UnavailableError",
    "UnsupportedError",
}
READERS = {"FieldError", "ValueError"}
# Functions that make one; what they add.
MAKERS = {"one_of": "unknown {}; known: {}; name one of these"}
# Texts of these are the file's own: what to do is added by the class where the place says nothing else.
DEFAULTS = {"FileError": CORRECT, "BundleError": FETCH_AGAIN}

# An instruction begins with one of these.
_WORDS = """
add allow annotate ask begin bring build call change check choose close copy correct create cut declare define
divide end export fetch fill give go improve install keep leave let make measure merge mend move name pip
prepare put raise read rename repair replace report resolve return run save say search see send set sort start
take train try turn unpack unset upgrade use wait wrap write
"""
VERBS = frozenset(_WORDS.split())


@dataclass(frozen=True)
class Raised:
    """One place.

    Attributes:
        room: folder or file right below the package.
        kind: class of the error, or the function that makes it.
        text: with what is filled in between braces.
        remedy: what the place says is to be done, beside the text; None: nothing.
        place: file and line.
    """

    room: str
    kind: str
    text: str
    remedy: str | None
    place: str

    @property
    def line(self) -> str:
        """As it stands in the list."""
        said = self.text if self.remedy is None else f"{self.text}; {self.remedy}" if self.remedy else self.text
        return f"{self.kind}\t{said}"

    @property
    def whole(self) -> str:
        """As a user reads it, what the class adds included."""
        if self.remedy is None and self.kind in DEFAULTS:
            return f"{self.text}; {DEFAULTS[self.kind]}"
        return self.line.split("\t")[1]


def raised() -> list[Raised]:
    """Every place in the package, in the order of the lists."""
    found = (one for path in sorted(PACKAGE.rglob("*.py")) for one in _of_file(path))
    return sorted(found, key=lambda one: (one.room, one.line))


def _of_file(path: Path) -> Iterator[Raised]:
    tree = ast.parse(path.read_text())
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    classes = {node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    inside = {id(node) for one in classes for node in ast.walk(one) if one.name.endswith("Error")}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or id(node) in inside:
            continue
        kind = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        place = f"{path.relative_to(PACKAGE.parent)}:{node.lineno}"
        if kind in SHOWN or kind in READERS:
            remedy = next((_text(word.value) for word in node.keywords if word.arg == "remedy"), None)
            yield Raised(room, kind, _text(node.args[-1]), remedy, place)
        elif kind in MAKERS and room != "errors":
            yield Raised(room, kind, ", ".join(map(_text, node.args[:1])), None, place)


def _text(node: ast.expr) -> str:
    """A text as it is written, `{what}` for what is filled in."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_text(value) for value in values)
        case ast.FormattedValue(value=value):
            return "{" + ast.unparse(value) + "}"
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + _text(right)
        case _:
            return "{" + ast.unparse(node) + "}"


def says_what_to_do(text: str) -> bool:
    """Whether a text ends in an instruction: its last part, behind a semicolon, begins with one of `VERBS`.

    >>> says_what_to_do("--threads must be from 1 to 4096, found 0; give another number")
    True
    >>> says_what_to_do("--threads must be from 1 to 4096, found 0")
    False
    """
    *before, last = re.split(r"; ", text)
    return bool(before) and re.split(r"\W", last, maxsplit=1)[0] in VERBS


def lists() -> dict[str, str]:
    """The content of every list, by room."""
    found: dict[str, list[str]] = {}
    for one in raised():
        found.setdefault(one.room, []).append(one.line)
    return {room: "".join(f"{line}\n" for line in sorted(set(lines))) for room, lines in found.items()}


def main() -> None:
    """Write the lists anew."""
    for old in LISTS.glob("*.txt"):
        old.unlink()
    for room, text in lists().items():
        (LISTS / f"{room}.txt").write_text(text)


if __name__ == "__main__":
    main()
