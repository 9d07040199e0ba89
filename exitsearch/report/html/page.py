"""A page: one self-contained file with figures, tables and text, light and dark, that asks nothing of any network.

Everything that a browser needs lies in the file: styles, script, data, and Plotly's library from its Python package,
compressed. A Content-Security-Policy in the page forbids every request, so a page that would make one cannot be written
by mistake. Names and sentences of users stand in it as text, wherever they come from.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from exitsearch import __version__
from exitsearch.report.html.charts import colours
from exitsearch.report.html.charts.chart import Figure
from exitsearch.report.html.charts.interactive import plotly_figure
from exitsearch.specs.document import write_text

# Letters of a cell beyond which its column is a wide one.
_LONG = 40

Cell = str | int | float | None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        form: how numbers are written (`.4f`, `.1%`); empty: the column holds text.
        tells: what the column means, for who hovers its heading; empty: the title says it.
    """

    title: str
    form: str = ""
    tells: str = ""


@dataclass(frozen=True)
class Table:
    """A table that readers can sort.

    Attributes:
        rows: cells by row; numbers as they are, to be written by their column's form.
        marked: rows that stand out.
        folded: whether it is shown only when it is asked for.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    marked: Sequence[int] = ()
    folded: bool = False

    def is_long(self, column: int) -> bool:
        """Whether a column holds sentences, or lists, which want room."""
        return any(isinstance(cell, str) and len(cell) > _LONG for cell in (row[column] for row in self.rows))

    def written(self, column: int, cell: Cell) -> str:
        """A cell as text."""
        form = self.columns[column].form
        if cell is None:
            return ""
        return str(cell) if isinstance(cell, str) or not form else format(cell, form)


@dataclass(frozen=True)
class Command:
    """A command line, and what it does."""

    line: str
    does: str


@dataclass(frozen=True)
class Fact:
    """A number that stands at the top of a page.

    Attributes:
        about: what it is of, in a few words.
        state: whether it is good news, bad news, or neither.
    """

    title: str
    number: str
    about: str = ""
    state: str = "plain"


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        key: its anchor.
        text: paragraphs before the figures.
        warnings: paragraphs that must not be overlooked.
        facts: (what, what is found) pairs.
    """

    key: str
    title: str
    text: Sequence[str] = ()
    warnings: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    facts: Sequence[tuple[str, str]] = ()
    commands: Sequence[Command] = ()


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title: of the page, and of the window.
        sentence: what was found and what it is worth, in one or two sentences.
        about: of what, when and by what, in a line.
        facts: the numbers to take away.
        warnings: what a reader must know before the numbers.
    """

    title: str
    sentence: str
    about: str
    facts: Sequence[Fact] = ()
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = field(default_factory=tuple)

    @property
    def figures(self) -> list[Figure]:
        """Every figure, in the order of the page."""
        return [figure for section in self.sections for figure in section.figures]


def write_page(page: Page, path: Path | str) -> Path:
    """Write a page, whole or not at all; the same page is the same file.

    Raises:
        FileError: the file cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("exitsearch.report.html"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    drawn = {figure.key: plotly_figure(figure.drawn) for figure in page.figures}
    text = environment.get_template("page.html").render(
        page=page,
        figures=drawn,
        data=embedded_json(drawn),
        library=Markup(plotly_library()) if drawn else "",
        light={**colours.LIGHT, **_numbered("turning", colours.TURNING_LIGHT)},
        dark={**colours.DARK, **_numbered("turning", colours.TURNING_DARK)},
        version=__version__,
    )
    return write_text(path, text)


def embedded_json(data: Any) -> Markup:
    """Data as JSON for a `<script>` element, which no text in it can end or open.

    `<`, `>` and `&` can only stand in JSON's strings, where they are written as escapes; so can the two line separators
    that JavaScript once took for the end of a line.

    >>> print(embedded_json({"name": "</script><!--"}))
    {"name":"\\u003c/script\\u003e\\u003c!--"}
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


@cache
def plotly_library() -> str:
    """Plotly's JavaScript library from its Python package, gzip in base64: two fifths of its size."""
    library = resources.files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(library, compresslevel=6, mtime=0)).decode("ascii")


def _numbered(name: str, found: Sequence[str]) -> dict[str, str]:
    return {f"{name}-{number}": colour for number, colour in enumerate(found)}
