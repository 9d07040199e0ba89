"""Frame: how a document is had as a table, and how it looks on a terminal and in a notebook.

A document says once which columns it has and what stands in them; everything that shows it follows from that:

    document.to_frame()     a pandas DataFrame, of all rows; `.attrs` tells what each column means
    rich.print(document)    title, table, notes
    document                in a notebook the same in HTML; in a plain shell the title alone

pandas and rich are imported where they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Group, RenderableType

Cell = str | int | float | bool | None
Kind = Literal["text", "whole", "number", "flag"]

# Those of pandas that know of missing values.
_DTYPES: dict[Kind, str] = {"text": "string", "whole": "Int64", "number": "float64", "flag": "boolean"}

# Rows of a view; two screens. A frame has all.
MOST_SHOWN = 60


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        meaning: what stands in it, with its unit.
        kind: of its values; any of them may be missing.
    """

    meaning: str
    kind: Kind = "number"


@dataclass(frozen=True)
class Frame:
    """What a document of one kind looks like as a table. Functions take the document.

    Attributes:
        title: one line that says what it is, without a full stop.
        columns: by name; the name of a measured one ends in its unit.
        rows: the cells of every row, in the order of the columns.
        notes: sentences below the table.
        brief: what is shown in place of this where the document itself has too many rows or columns to be read.
    """

    title: Callable[[Any], str]
    columns: Mapping[str, Column]
    rows: Callable[[Any], Iterable[Sequence[Cell]]]
    notes: Callable[[Any], Sequence[str]] = lambda _: ()
    brief: Frame | None = None

    def of(self, part: Callable[[Any], Any]) -> Frame:
        """The same for something that holds a document.

        Args:
            part: takes the document out of it.
        """
        return Frame(
            title=lambda whole: self.title(part(whole)),
            columns=self.columns,
            rows=lambda whole: self.rows(part(whole)),
            notes=lambda whole: self.notes(part(whole)),
            brief=self.brief.of(part) if self.brief else None,
        )


class Framed:
    """What can be had as a table."""

    frame: ClassVar[Frame]

    def to_frame(self) -> pd.DataFrame:
        """Everything that is told in rows, for pandas.

        Its `attrs` hold `title`, and under `columns` what stands in each, with its unit.
        """
        return as_pandas(self.frame, self)

    def __rich__(self) -> RenderableType:
        """For a terminal, by rich."""
        return as_rich(self.frame.brief or self.frame, self)

    def _repr_html_(self) -> str:
        """For a notebook."""
        return as_html(self.frame.brief or self.frame, self)

    def __repr__(self) -> str:
        # A profile holds megabytes of samples: nobody wants them in a shell or a traceback.
        return f"<{type(self).__name__}: {self.frame.title(self)}>"

    def __str__(self) -> str:
        return repr(self)


def as_pandas(frame: Frame, document: object) -> pd.DataFrame:
    """A document's rows for pandas, each column of its own dtype also where there are no rows."""
    import pandas as pd

    rows = [tuple(row) for row in frame.rows(document)]
    found = pd.DataFrame(
        {
            name: pd.array([row[number] for row in rows], dtype=_DTYPES[column.kind])  # type: ignore[call-overload]
            for number, (name, column) in enumerate(frame.columns.items())
        }
    )
    found.attrs = {
        "title": frame.title(document),
        "columns": {name: column.meaning for name, column in frame.columns.items()},
    }
    return found


def as_rich(frame: Frame, document: object) -> Group:
    """Title, table and notes for a terminal. Names are shown as they are: brackets in them are no markup."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rows, notes = _shown(frame, document)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name, column in frame.columns.items():
        table.add_column(Text(name), justify="left" if column.kind == "text" else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    below = [Text(note) for note in notes]
    return Group(Text(frame.title(document), style="bold"), *([table] if rows else []), *below)


def as_html(frame: Frame, document: object) -> str:
    """The same for a notebook; what a column means is told where the pointer rests on its name."""
    rows, notes = _shown(frame, document)
    sides = ["left" if column.kind == "text" else "right" for column in frame.columns.values()]
    head = "".join(
        f'<th title="{escape(column.meaning)}" style="text-align: {side}">{escape(name)}</th>'
        for (name, column), side in zip(frame.columns.items(), sides, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f'<td style="text-align: {side}">{escape(cell)}</td>' for cell, side in zip(row, sides, strict=True))
        + "</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
    below = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return f"<div><p><strong>{escape(frame.title(document))}</strong></p>{table}{below}</div>"


def _shown(frame: Frame, document: object) -> tuple[list[list[str]], list[str]]:
    """The first rows as text, and the notes, with one on the rows that are left out."""
    rows = [[_text(cell) for cell in row] for row in frame.rows(document)]
    notes = list(frame.notes(document))
    if len(rows) > MOST_SHOWN:
        notes.insert(0, f"The first {MOST_SHOWN} of {len(rows)} rows; to_frame() has all of them.")
    return rows[:MOST_SHOWN], notes


def _text(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case bool():
            return "yes" if cell else "no"
        case int():
            return f"{cell:,}"
        case float():
            return f"{cell:.4g}"
        case _:
            return str(cell)


def counted(count: int, what: str) -> str:
    """A number of things in words.

    >>> counted(1, "exit"), counted(12, "placement"), counted(0, "head")
    ('1 exit', '12 placements', '0 heads')
    """
    return f"{count} {what}{'' if count == 1 else 's'}"
