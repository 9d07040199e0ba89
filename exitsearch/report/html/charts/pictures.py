"""Charts on paper: PNG and SVG pictures, drawn with matplotlib on light ground."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exitsearch.report.html.charts.chart import (
    Bars,
    Compared,
    Drawn,
    Flag,
    Grid,
    Line,
    Lines,
    Reading,
    Readings,
)
from exitsearch.report.html.charts.chart import Figure as Charted
from exitsearch.report.html.charts.colours import LIGHT, SCALE, TURNING_LIGHT, shown_turning
from exitsearch.specs.document import write_bytes, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches: the width of a page's text in most papers, twice; heights of rows, and of what stands around them.
_WIDTH, _ROW, _AROUND = 8.0, 0.3, 1.2
# Of PNG pictures, in dots an inch.
_DOTS = 150
_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
_MARKS = {"circle": "o", "diamond": "D", "square": "s", "cross": "x", "triangle": "^"}
# Letters of a label beside an axis, before it is broken.
_BROAD = 34


def write_pictures(figures: Sequence[Charted], folder: Path | str) -> list[Path]:
    """Write every figure as `KEY.png` and `KEY.svg`, each whole or not at all.

    Raises:
        FileError: a file cannot be written.
    """
    written = []
    for figure in figures:
        drawn = picture(figure.drawn, title=figure.title)
        written.append(write_bytes(Path(folder) / f"{figure.key}.png", png_bytes(drawn)))
        written.append(write_text(Path(folder) / f"{figure.key}.svg", svg_text(drawn)))
    return written


def picture(drawn: Drawn, *, title: str = "") -> Figure:
    """A chart as matplotlib's figure.

    Args:
        title: above it; empty: nothing.
    """
    from matplotlib.figure import Figure

    height = {
        Lines: 4.2 if isinstance(drawn, Lines) and drawn.density else 3.6,
        Bars: _AROUND + 1.3 * len(drawn.bars) if isinstance(drawn, Bars) else 0,
        Grid: _AROUND + _ROW * len(drawn.rows) if isinstance(drawn, Grid) else 0,
        Compared: _AROUND + _ROW * len(drawn.rows) if isinstance(drawn, Compared) else 0,
    }[type(drawn)]
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    if title:
        figure.suptitle(_plain(title), fontsize="medium", x=0.01, ha="left")
    match drawn:
        case Lines():
            _lines(figure, drawn)
        case Bars():
            _bars(figure.subplots(), drawn)
        case Grid():
            _grid(figure, drawn)
        case Compared():
            _compared(figure.subplots(), drawn)
    return figure


def svg_text(figure: Figure) -> str:
    """A figure as an `<svg>` element, the same for the same figure: no date, and no ids drawn at random."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "exitsearch"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def png_bytes(figure: Figure) -> bytes:
    """A figure as a PNG picture, the same for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS, metadata={"Software": None})
    return buffer.getvalue()


def _plain(text: str) -> str:
    """Text as it is: matplotlib takes what stands between dollars for mathematics."""
    return text.replace("$", r"\$")


def _broken(text: str) -> str:
    return _plain("\n".join(textwrap.wrap(text, _BROAD, break_long_words=False)) or text)


def _lines(figure: Figure, drawn: Lines) -> None:
    if drawn.density is not None:
        axes, below = figure.subplots(2, sharex=True, height_ratios=(4, 1))
        below.fill_between(drawn.density.x, drawn.density.y, step="post", color=LIGHT["muted"], alpha=0.4, linewidth=0)
        below.set(yticks=[], ylim=(0, None), xlabel=_plain(drawn.across), ylabel=_plain(drawn.density.name))
        below.spines[["top", "right", "left"]].set_visible(False)
    else:
        axes = figure.subplots()
        axes.set_xlabel(_plain(drawn.across))
    for line in drawn.lines:
        if not line.hidden:
            _line(axes, line)
    if drawn.level is not None:
        name, height = drawn.level
        axes.axhline(height, label=_plain(name), color=LIGHT["bound"], linestyle=":", linewidth=1.2)
    if drawn.whole:
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel(_plain(drawn.up))
    axes.grid(alpha=0.3)
    if len(drawn.lines) > 1 or drawn.level is not None:
        axes.legend(fontsize="small")


def _line(axes: Axes, line: Line) -> None:
    style: dict[str, Any] = {"color": LIGHT[line.role], "label": _plain(line.name)}
    heights = np.array([np.nan if y is None else y for y in line.y], dtype=float)
    mark = _MARKS[line.mark] if line.mark else None
    if line.join == "none":
        axes.plot(line.x, heights, linestyle="none", marker=mark or "o", markersize=4, **style)
        return
    axes.plot(
        line.x,
        heights,
        linestyle=_DASHES[line.dash],
        linewidth=0.75 * line.width,
        marker=mark,
        markersize=4,
        drawstyle="steps-post" if line.join == "step" else "default",
        **style,
    )


def _bars(axes: Axes, drawn: Bars) -> None:
    from matplotlib.patches import Patch

    for row, bar in enumerate(drawn.bars):
        for span in bar.spans:
            alpha = 0.6 if span.faint else 0.95
            axes.barh(-row, span.end - span.start, left=span.start, height=0.34, color=LIGHT[span.role], alpha=alpha)
            if span.text:
                axes.text(
                    (span.start + span.end) / 2, -row, span.text, ha="center", va="center", color="white", fontsize=7
                )
        for flag in bar.flags:
            _flag(axes, row, flag)
    axes.set(
        xlabel=_plain(drawn.across),
        yticks=[-row for row in range(len(drawn.bars))],
        yticklabels=[_plain(bar.name) for bar in drawn.bars],
        ylim=(-len(drawn.bars) + 0.72, 0.85),
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(
        handles=[Patch(color=LIGHT[role], label=_plain(name)) for role, name in drawn.legend],
        fontsize="small",
        ncols=len(drawn.legend),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        frameon=False,
    )


def _flag(axes: Axes, row: int, flag: Flag) -> None:
    axes.plot([flag.at], [0.23 - row], marker="v", color=LIGHT[flag.role], markersize=5)
    axes.text(
        flag.at, 0.3 - row, _plain(flag.text), rotation=30, rotation_mode="anchor", fontsize=7, color=LIGHT[flag.role]
    )


def _grid(figure: Figure, drawn: Grid) -> None:
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    axes = figure.subplots()
    numbers = np.array([[np.nan if n is None else n for n in row] for row in drawn.numbers], dtype=float)
    turning = shown_turning(drawn)
    names = SCALE if turning is None else [TURNING_LIGHT[n] for n in turning.colours]
    colours = LinearSegmentedColormap.from_list("scale", names)
    norm = None if turning is None else Normalize(turning.low, turning.high)
    image = axes.imshow(numbers, aspect="auto", cmap=colours, norm=norm, interpolation="nearest")
    figure.colorbar(image, ax=axes, label=_plain(drawn.unit))
    for row, column in drawn.chosen:
        axes.plot([column], [row], marker="D", color="white", markeredgecolor="black", markersize=6)
    axes.set(
        xlabel=_plain(drawn.across),
        ylabel=_plain(drawn.down),
        xticks=range(len(drawn.columns)),
        xticklabels=[_plain(column) for column in drawn.columns],
        yticks=range(len(drawn.rows)),
        yticklabels=[_plain(row) for row in drawn.rows],
    )


def _compared(axes: Axes, drawn: Compared) -> None:
    for row in range(len(drawn.rows)):
        numbers = [s.readings[row].number for s in drawn.series if s.readings[row] is not None]  # type: ignore[union-attr]
        if drawn.joined and len(numbers) > 1:
            axes.plot([min(numbers), max(numbers)], [-row, -row], color=LIGHT["muted"], linewidth=2, alpha=0.5)
    for number, series in enumerate(drawn.series):
        _readings(axes, series, number - (len(drawn.series) - 1) / 2, is_first=number == 0)
    axes.set(
        xlabel=_plain(drawn.across),
        yticks=[-row for row in range(len(drawn.rows))],
        yticklabels=[_broken(row) for row in drawn.rows],
        ylim=(-len(drawn.rows) + 0.4, 0.6),
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _readings(axes: Axes, series: Readings, shift: float, *, is_first: bool) -> None:
    there: list[tuple[int, Reading]] = [(row, r) for row, r in enumerate(series.readings) if r is not None]
    ended = any(reading.low is not None for _, reading in there)
    heights = [-row - (0.16 * shift if ended else 0.0) for row, _ in there]
    numbers = [reading.number for _, reading in there]
    ends = [
        [n - (n if r.low is None else r.low) for n, (_, r) in zip(numbers, there, strict=True)],
        [(n if r.high is None else r.high) - n for n, (_, r) in zip(numbers, there, strict=True)],
    ]
    axes.errorbar(
        numbers,
        heights,
        xerr=np.maximum(ends, 0.0) if ended else None,
        linestyle="none",
        marker=_MARKS[series.mark],
        # The first series is larger and open, so that an equal reading of another is seen in it.
        markersize=9 if is_first else 5,
        fillstyle="none" if is_first else "full",
        color=LIGHT[series.role],
        label=_plain(series.name),
        capsize=2,
    )
