"""Charts as plain data: what is drawn, apart from how. `interactive.py` draws them in a page, `pictures.py` on paper.

Colours are named by what they stand for (`Role`), so that a page can show them on light and on dark ground, and no two
things are told apart by their colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# What a colour stands for; the colours themselves are in `colours.py`.
Role = Literal["choice", "first", "second", "third", "fourth", "bound", "muted", "good", "bad"]
Dash = Literal["solid", "dash", "dot", "dashdot"]
Mark = Literal["circle", "diamond", "square", "cross", "triangle"]


@dataclass(frozen=True)
class Line:
    """Points of one series, joined or not.

    Attributes:
        y: None where there is nothing.
        join: `step` holds a value until the next point; `none` draws marks alone.
        words: said of each point on hover beside its numbers; empty: nothing.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    role: Role
    join: Literal["step", "line", "none"] = "line"
    dash: Dash = "solid"
    width: float = 1.8
    mark: Mark | None = None
    words: Sequence[str] = ()
    hidden: bool = False


@dataclass(frozen=True)
class Density:
    """Where something lies, in a strip of its own below a chart and on the same horizontal axis.

    Attributes:
        y: relative heights; their unit is not shown.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Lines:
    """Series over one horizontal axis.

    Attributes:
        density: drawn below; None: nothing.
        level: (name, height) of a horizontal line across the chart; None: no line.
        whole: whether the horizontal axis has whole numbers alone.
        together: whether hovering tells of every series at that place, or of the nearest point alone.
    """

    across: str
    up: str
    lines: Sequence[Line]
    density: Density | None = None
    level: tuple[str, float] | None = None
    whole: bool = False
    together: bool = True


@dataclass(frozen=True)
class Span:
    """A piece of a bar, to scale.

    Attributes:
        text: written in it where there is room.
        words: said on hover.
        faint: every other piece of one kind, so that neighbours are told apart.
    """

    start: float
    end: float
    role: Role
    words: str
    text: str = ""
    faint: bool = False


@dataclass(frozen=True)
class Flag:
    """A moment on a bar: what stands there, and what is said of it on hover."""

    at: float
    text: str
    words: str
    role: Role = "choice"


@dataclass(frozen=True)
class Bar:
    """One bar of pieces, with moments marked above it."""

    name: str
    spans: Sequence[Span]
    flags: Sequence[Flag] = ()


@dataclass(frozen=True)
class Bars:
    """Bars of pieces one below the other, over one axis.

    Attributes:
        legend: what the roles of the pieces stand for.
    """

    across: str
    bars: Sequence[Bar]
    legend: Sequence[tuple[Role, str]] = ()


@dataclass(frozen=True)
class Grid:
    """Numbers in rows and columns, by colour.

    Attributes:
        numbers: by row; None where there is none.
        words: said of each cell on hover.
        chosen: (row, column) of the cells that are marked.
        around: where the colour turns, for numbers that lie on two sides of something; None: one scale.
    """

    across: str
    down: str
    columns: Sequence[str]
    rows: Sequence[str]
    numbers: Sequence[Sequence[float | None]]
    words: Sequence[Sequence[str]]
    unit: str
    chosen: Sequence[tuple[int, int]] = ()
    around: float | None = None


@dataclass(frozen=True)
class Reading:
    """One number with what is known of it.

    Attributes:
        low, high: ends of its interval; None: it has none.
    """

    number: float
    words: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Readings:
    """One series of readings, one a row; None where there is none."""

    name: str
    role: Role
    mark: Mark
    readings: Sequence[Reading | None]


@dataclass(frozen=True)
class Compared:
    """Readings of several series, row by row.

    Attributes:
        joined: whether a line joins the readings of a row.
    """

    across: str
    rows: Sequence[str]
    series: Sequence[Readings]
    joined: bool = True


Drawn = Lines | Bars | Grid | Compared


@dataclass(frozen=True)
class Figure:
    """A chart with what is said about it.

    Attributes:
        key: name of its file, and of its place in the page.
        title: what it shows.
        reading: how to read it, in a sentence or two.
        told: what it shows, in words, for who cannot see it.
    """

    key: str
    title: str
    reading: str
    told: str
    drawn: Drawn
