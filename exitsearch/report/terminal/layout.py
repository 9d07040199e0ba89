"""Tables that read at the width at hand: numbers are never broken, words wrap, and what does not fit is said.

Where it is narrow a table gives way in this order: headings wrap, prose wraps, the lesser columns go (a line below the
table names them). What is wider than any terminal, heads x placements, is shown in the first of several forms that
fits, or in parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from rich.box import Box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

Row = Mapping[str, Any]

# No lines but one under each heading: two columns between neighbours where rich's own boxes take three.
_RULED = Box("    \n    \n ─  \n    \n    \n    \n    \n    \n")
_GAP = 2
# Cells of words that are longer than this wrap; shorter ones are names and numbers, and stay whole.
_PROSE = 24
# Prose narrower than this does not read.
_LEAST_PROSE = 18
# Where a name may be broken besides its spaces: behind `_`, `,` and `/`, and before options: `gah(stride=2)`.
_PIECES = re.compile(r"\(?[^\s_,/(]*[_,/]?|[_,/(]")


class Fits(Protocol):
    """Something to look at that knows whether it reads at a width."""

    def fits(self, width: int) -> bool:
        """Whether nothing must be broken or left out in so many columns."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Rendered by rich."""


class Rows:
    """A table with one column a key; numbers stand right.

    Args:
        title: above it.
        rows: all with the same keys.
        lesser: keys of columns that may be left out where it is narrow, the first to go first.
    """

    def __init__(self, title: str, rows: Sequence[Row], *, lesser: Sequence[str] = ()) -> None:
        self.title = title
        first = rows[0] if rows else {}
        texts = {key: _texts([row[key] for row in rows]) for key in first}
        self._rows = [{key: texts[key][index] for key in first} for index in range(len(rows))]
        self._lesser = [key for key in lesser if key in first]
        self._right = {key for key in first if all(_is_number(row[key]) for row in rows)}
        self._right -= {key for key in first if all(row[key] in (None, "") for row in rows)}
        self._prose = {key for key in first if any(_is_prose(row[key]) for row in self._rows)}

    @property
    def keys(self) -> list[str]:
        """Of all columns."""
        return list(self._rows[0]) if self._rows else []

    def fits(self, width: int) -> bool:
        """Whether every column has room, headings and prose wrapped."""
        return self.least_width() <= width

    def least_width(self) -> int:
        """In how many columns the whole table reads."""
        return _total(self._least(self.keys))

    def part(self, keys: Sequence[str], *, title: str) -> Rows:
        """The same table with these columns alone."""
        return Rows(title, [{key: row[key] for key in keys} for row in self._rows])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        keys, gone = self.keys, list[str]()
        for key in self._lesser:
            if _total(self._least(keys)) <= options.max_width:
                break
            keys.remove(key)
            gone.append(key)
        widths = self._widths(keys, options.max_width)
        table = Table(
            box=_RULED,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for key, width in widths.items():
            table.add_column(
                Text(_wrapped(key, width)),
                justify="right" if key in self._right else "left",
                width=width,
                overflow="fold",
            )
        for row in self._rows:
            table.add_row(*(Text(self._cell(row[key], key, widths[key])) for key in keys))
        yield Text(self.title, style="bold")
        if keys:
            yield table
        if gone:
            yield Text(f"({options.max_width} columns are too narrow for: {', '.join(reversed(gone))})", style="dim")

    def _cell(self, text: str, key: str, width: int) -> str:
        """A name that is too long is broken where names may be; words wrap by themselves."""
        return text if key in self._prose or cell_len(text) <= width else _wrapped(text, width)

    def _least(self, keys: Sequence[str]) -> dict[str, int]:
        """The narrowest that each column reads in."""
        return {key: max(_narrowest(key), self._least_cells(key)) for key in keys}

    def _least_cells(self, key: str) -> int:
        cells = [row[key] for row in self._rows]
        if key not in self._prose:
            return max(map(cell_len, cells), default=0)
        longest = max((cell_len(word) for cell in cells for word in cell.split()), default=0)
        return max(longest, min(_LEAST_PROSE, max(map(cell_len, cells), default=0)))

    def _widths(self, keys: Sequence[str], width: int) -> dict[str, int]:
        """What each column gets: its least, then headings and prose share what is left; too little is cut off all."""
        found = self._least(keys)
        wish = {key: max(cell_len(key), *(cell_len(row[key]) for row in self._rows)) for key in keys}
        if (over := _total(found) - width) > 0:
            for key in sorted(self._prose & set(keys), key=lambda key: -found[key]):
                cut = min(over, max(0, found[key] - _LEAST_PROSE))
                found[key], over = found[key] - cut, over - cut
            while over > 0 and max(found.values()) > 1:
                widest = max(found, key=lambda key: found[key])
                found[widest], over = found[widest] - 1, over - 1
            return found
        for one in (set(keys) - self._prose, self._prose):
            short = [key for key in keys if key in one and found[key] < wish[key]]
            while (left := width - _total(found)) > 0 and short:
                for key in sorted(short, key=lambda key: found[key] - wish[key])[:left]:
                    found[key] += 1
                short = [key for key in short if found[key] < wish[key]]
        return found


class FirstThatFits:
    """The first of several forms of a table that fits; the last where none does."""

    def __init__(self, *forms: Fits) -> None:
        assert forms
        self._forms = forms

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield next((form for form in self._forms if form.fits(options.max_width)), self._forms[-1])


class InParts:
    """A table whose columns come in as many parts as its width needs, the first column in each of them."""

    def __init__(self, table: Rows) -> None:
        self._table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        parts = list(self._parts(options.max_width))
        if len(parts) == 1:
            yield self._table
            return
        for number, keys in enumerate(parts, start=1):
            if number > 1:
                yield ""
            yield self._table.part(keys, title=f"{self._table.title} ({number} of {len(parts)})")

    def _parts(self, width: int) -> Iterator[list[str]]:
        """At least one column beside the first in each."""
        first, *others = self._table.keys or [""]
        part = [first]
        for key in others:
            if len(part) > 1 and not self._table.part([*part, key], title="").fits(width):
                yield part
                part = [first]
            part.append(key)
        yield part if self._table.keys else []


def rows_table(title: str, rows: Sequence[Row], *, lesser: Sequence[str] = ()) -> Rows:
    """A table with one column a key.

    Args:
        lesser: keys of columns that may be left out where it is narrow, the first to go first.
    """
    return Rows(title, rows, lesser=lesser)


def entries_table(title: str, entries: Mapping[str, Sequence[str]]) -> RenderableType:
    """Names, each with lines of words beside it: what would be columns of prose, too narrow to read."""
    shown = {
        name: Text("\n").join(Text(line, style="" if index == 0 else "dim") for index, line in enumerate(lines))
        for name, lines in entries.items()
    }
    return _beside(title, shown)


def facts_table(title: str, facts: Mapping[str, Any]) -> RenderableType:
    """Names and what was found, one below the other and without headings."""
    return _beside(title, {key: Text(_text(value)) for key, value in facts.items()})


def _beside(title: str, found: Mapping[str, Text]) -> RenderableType:
    table = Table(
        box=None,
        show_header=False,
        pad_edge=False,
        padding=(0, _GAP, 0, 0),
    )
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, text in found.items():
        table.add_row(Text(key), text)
    return Group(Text(title, style="bold"), table) if title else table


def spaced(*parts: RenderableType) -> list[RenderableType]:
    """The same with an empty line between a table and what stands before and after it; lines stay together."""
    found: list[RenderableType] = []
    for index, part in enumerate(parts):
        before = parts[index - 1]
        lines = isinstance(part, str) and isinstance(before, str)
        if index and not lines and "" not in (part, before):
            found.append("")
        found.append(part)
    return found


def bullets(sentences: Sequence[str]) -> RenderableType:
    """Sentences one below the other, told apart by their first column."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for sentence in sentences:
        table.add_row("-", Text(sentence))
    return table


def _texts(values: Sequence[Any]) -> list[str]:
    """The cells of a column; its decimal numbers with as many places as the longest needs."""
    texts = [_text(value) for value in values]
    numbers = [text for text, value in zip(texts, values, strict=True) if isinstance(value, float)]
    if not numbers or any("e" in text or not text[-1].isdigit() for text in numbers):
        return texts
    places = max(len(text.partition(".")[2]) for text in numbers)
    return [f"{v:.{places}f}" if isinstance(v, float) else t for t, v in zip(texts, values, strict=True)]


def _text(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _is_number(value: Any) -> bool:
    """Whether a cell stands right: a number, or text that begins as one and holds no words."""
    if value is None or value == "":
        return True
    if isinstance(value, int | float):
        return not isinstance(value, bool)
    return bool(re.fullmatch(r"[-+]?\d[\d.,e+-]*%?( \(\d+%\))?", str(value)))


def _is_prose(cell: str) -> bool:
    return cell_len(cell) > _PROSE and " " in cell


def _total(widths: Mapping[str, int]) -> int:
    """Of a table whose columns are so wide."""
    return sum(widths.values()) + _GAP * max(0, len(widths) - 1)


def _pieces(heading: str) -> list[list[str]]:
    """The words of a heading, each in pieces that stay whole."""
    return [[piece for piece in _PIECES.findall(word) if piece] for word in heading.split()]


def _narrowest(heading: str) -> int:
    return max((cell_len(piece) for word in _pieces(heading) for piece in word), default=0)


def _wrapped(heading: str, width: int) -> str:
    """A heading in lines of at most so many columns.

    >>> _wrapped("cnn_project_ee", 8), _wrapped("answers at ms", 10), _wrapped("p99 ms", 6)
    ('cnn_\\nproject_\\nee', 'answers at\\nms', 'p99 ms')
    """
    lines = [""]
    for word in _pieces(heading):
        for index, piece in enumerate(word):
            joint = " " if index == 0 and lines[-1] else ""
            if cell_len(lines[-1] + joint + piece) <= width or not lines[-1]:
                lines[-1] += joint + piece
            else:
                lines.append(piece)
    return "\n".join(lines)
