"""Charts for a page, in the form that Plotly's JavaScript library draws.

Colours are the names of the page's own CSS properties (`--choice`), which its script replaces by what they are on the
ground that is shown, light or dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exitsearch.report.html.charts.chart import Bars, Compared, Density, Drawn, Grid, Line, Lines, Readings
from exitsearch.report.html.charts.colours import SCALE, shown_turning

Plotly = dict[str, Any]

# Digits that are told: more than a profile or a validation split can hold.
_DIGITS = 6
# Pixels a bar takes at least, a row of a map, and what stands around them; those that a letter of a slanted label is
# high, and the share of a bar's room that such a label has.
_BAR, _ROW, _AROUND = 104, 30, 110
_LETTER, _FREE = 3.4, 0.5


def plotly_figure(drawn: Drawn) -> Plotly:
    """A chart as Plotly's `data` and `layout`; `layout.height` is in pixels."""
    match drawn:
        case Lines():
            return _lines(drawn)
        case Bars():
            return _bars(drawn)
        case Grid():
            return _grid(drawn)
        case Compared():
            return _compared(drawn)


def _numbers(values: Sequence[float | None]) -> list[float | None]:
    """Numbers with as many digits as are told, which keeps the page small."""
    return [None if value is None else float(f"{value:.{_DIGITS}g}") for value in values]


def _axis(title: str, **more: Any) -> Plotly:
    return {
        "title": {"text": _plain(title), "standoff": 8},
        "automargin": True,
        "gridcolor": "--grid",
        "linecolor": "--line",
        "tickcolor": "--line",
        "zeroline": False,
        **more,
    }


def _layout(height: int, **more: Any) -> Plotly:
    return {
        "height": height,
        "margin": {"l": 56, "r": 16, "t": 12, "b": 48},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "--text"},
        "hoverlabel": {"bgcolor": "--surface", "bordercolor": "--line", "font": {"color": "--text"}, "align": "left"},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"},
        "dragmode": False,
        **more,
    }


def _lines(drawn: Lines) -> Plotly:
    data = [_line(line) for line in drawn.lines]
    if drawn.level is not None:
        name, height = drawn.level
        ends = [x for line in drawn.lines for x in line.x]
        edge = {"x": [min(ends), max(ends)], "y": [height, height], "mode": "lines", "hoverinfo": "skip"}
        data.append(
            {**edge, "type": "scatter", "name": _plain(name), "line": {"color": "--bound", "dash": "dot", "width": 1.4}}
        )
    across = _axis(drawn.across, **({"dtick": _step(drawn), "tickformat": "d"} if drawn.whole else {}))
    layout = _layout(
        540 if drawn.density else 360,
        hovermode="x unified" if drawn.together else "closest",
        xaxis=across,
        yaxis=_axis(drawn.up),
    )
    if drawn.together:
        layout["xaxis"] |= {"showspikes": True, "spikemode": "across", "spikethickness": 1, "spikecolor": "--muted"}
        layout["xaxis"]["hoverformat"] = "d" if drawn.whole else ".4~g"
    if drawn.density is not None:
        data.append(_density(drawn.density))
        layout["yaxis"]["domain"] = [0.25, 1]
        layout["xaxis"]["anchor"] = "y2"
        layout["yaxis2"] = {"domain": [0, 0.17], "visible": False, "rangemode": "tozero", "fixedrange": True}
    return {"data": data, "layout": layout}


def _step(drawn: Lines) -> int:
    """Between two ticks of whole numbers: at most some twelve of them."""
    ends = [x for line in drawn.lines for x in line.x]
    return max(1, round((max(ends) - min(ends)) / 12))


def _line(line: Line) -> Plotly:
    said = "%{y:.4f}" + ("  %{customdata}" if line.words else "")
    trace: Plotly = {
        "type": "scatter",
        "name": _plain(line.name),
        "x": _numbers(line.x),
        "y": _numbers(line.y),
        "mode": "markers" if line.join == "none" else "lines+markers" if line.mark else "lines",
        "line": {
            "color": f"--{line.role}",
            "dash": line.dash,
            "width": line.width,
            "shape": "hv" if line.join == "step" else "linear",
        },
        "hovertemplate": said + "<extra>%{fullData.name}</extra>",
    }
    if line.mark:
        symbol = {"triangle": "triangle-up", "cross": "x"}.get(line.mark, line.mark)
        trace["marker"] = {"symbol": symbol, "size": 9 if line.join == "none" else 7, "color": f"--{line.role}"}
    if line.words:
        trace["customdata"] = [_plain(word) for word in line.words]
    if line.hidden:
        trace["visible"] = "legendonly"
    return trace


def _density(density: Density) -> Plotly:
    return {
        "type": "scatter",
        "name": _plain(density.name),
        "x": _numbers(density.x),
        "y": _numbers(density.y),
        "yaxis": "y2",
        "mode": "lines",
        "line": {"color": "--muted", "width": 1, "shape": "hv"},
        "fill": "tozeroy",
        "fillcolor": "--density",
        "hoverinfo": "skip",
    }


def _bars(drawn: Bars) -> Plotly:
    data: list[Plotly] = []
    for role, name in drawn.legend:
        pieces = [(row, span) for row, bar in enumerate(drawn.bars) for span in bar.spans if span.role == role]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": _plain(name),
                "y": [-row for row, _ in pieces],
                "base": _numbers([span.start for _, span in pieces]),
                "x": _numbers([span.end - span.start for _, span in pieces]),
                "width": 0.34,
                "text": [_plain(span.text) for _, span in pieces],
                "textposition": "inside",
                "insidetextanchor": "middle",
                "textangle": 0,
                "textfont": {"color": ["--on-faint" if s.faint else "--on-bar" for _, s in pieces], "size": 11},
                "constraintext": "none",
                "cliponaxis": True,
                "marker": {
                    "color": f"--{role}",
                    "opacity": [0.62 if span.faint else 0.95 for _, span in pieces],
                    "line": {"color": "--surface", "width": 1},
                },
                "customdata": [_plain(span.words) for _, span in pieces],
                "hovertemplate": "%{customdata}<extra></extra>",
            }
        )
    data += _flags(drawn)
    longest = max((len(flag.text) for bar in drawn.bars for flag in bar.flags), default=0)
    layout = _layout(
        round(max(_BAR, (_LETTER * longest + 14) / _FREE)) * len(drawn.bars) + _AROUND,
        barmode="overlay",
        hovermode="closest",
        xaxis=_axis(drawn.across, rangemode="tozero"),
        yaxis=_axis(
            "",
            tickvals=[-row for row in range(len(drawn.bars))],
            ticktext=[_plain(bar.name) for bar in drawn.bars],
            range=[-len(drawn.bars) + 0.72, 0.85],
            showgrid=False,
            fixedrange=True,
        ),
        annotations=[
            {
                "x": flag.at,
                "y": 0.32 - row,
                "text": _plain(flag.text),
                "showarrow": False,
                "textangle": -32,
                "xanchor": "left",
                "yanchor": "bottom",
                "font": {"size": 11, "color": f"--{flag.role}"},
            }
            for row, bar in enumerate(drawn.bars)
            for flag in bar.flags
        ],
    )
    return {"data": data, "layout": layout}


def _flags(drawn: Bars) -> list[Plotly]:
    flags = [(row, flag) for row, bar in enumerate(drawn.bars) for flag in bar.flags]
    if not flags:
        return []
    return [
        {
            "type": "scatter",
            "name": "an answer is ready",
            "x": _numbers([flag.at for _, flag in flags]),
            "y": [0.24 - row for row, _ in flags],
            "mode": "markers",
            "marker": {"symbol": "triangle-down", "size": 10, "color": [f"--{flag.role}" for _, flag in flags]},
            "customdata": [_plain(flag.words) for _, flag in flags],
            "hovertemplate": "%{customdata}<extra></extra>",
        }
    ]


def _grid(drawn: Grid) -> Plotly:
    turning = shown_turning(drawn)
    names = list(SCALE) if turning is None else [f"--turning-{n}" for n in turning.colours]
    heat = {
        "type": "heatmap",
        "x": [_plain(column) for column in drawn.columns],
        "y": [_plain(row) for row in drawn.rows],
        "z": [_numbers(row) for row in drawn.numbers],
        "customdata": [[_plain(words) for words in row] for row in drawn.words],
        "colorscale": [[n / (len(names) - 1), name] for n, name in enumerate(names)],
        **({} if turning is None else {"zmin": turning.low, "zmax": turning.high}),
        "xgap": 2,
        "ygap": 2,
        "hoverongaps": True,
        "hovertemplate": "%{customdata}<extra></extra>",
        "colorbar": {
            "title": {"text": _plain(drawn.unit), "side": "right"},
            "thickness": 12,
            "outlinewidth": 0,
            "tickcolor": "--line",
        },
    }
    chosen = {
        "type": "scatter",
        "name": "chosen",
        "x": [_plain(drawn.columns[column]) for _, column in drawn.chosen],
        "y": [_plain(drawn.rows[row]) for row, _ in drawn.chosen],
        "mode": "markers",
        "marker": {
            "symbol": "diamond",
            "size": 12,
            "color": "--surface",
            "line": {"color": "--text", "width": 2},
        },
        "hoverinfo": "skip",
        "showlegend": True,
    }
    layout = _layout(
        _ROW * len(drawn.rows) + _AROUND,
        hovermode="closest",
        xaxis=_axis(drawn.across, type="category", showgrid=False),
        yaxis=_axis(drawn.down, type="category", showgrid=False, autorange="reversed"),
    )
    return {"data": [heat, *([chosen] if drawn.chosen else [])], "layout": layout}


def _compared(drawn: Compared) -> Plotly:
    data: list[Plotly] = []
    if drawn.joined:
        data.append(_joins(drawn))
    data += [_readings(series, len(drawn.series), number) for number, series in enumerate(drawn.series)]
    layout = _layout(
        _ROW * len(drawn.rows) + _AROUND + 20,
        hovermode="closest",
        xaxis=_axis(drawn.across),
        yaxis=_axis(
            "",
            tickvals=[-row for row in range(len(drawn.rows))],
            ticktext=[_plain(row) for row in drawn.rows],
            range=[-len(drawn.rows) + 0.4, 0.6],
        ),
    )
    return {"data": data, "layout": layout}


def _joins(drawn: Compared) -> Plotly:
    """A line from the first to the last reading of every row."""
    x: list[float | None] = []
    y: list[float | None] = []
    for row in range(len(drawn.rows)):
        found = [s.readings[row] for s in drawn.series]
        numbers = [reading.number for reading in found if reading is not None]
        if len(numbers) > 1:
            x += [min(numbers), max(numbers), None]
            y += [-row, -row, None]
    return {
        "type": "scatter",
        "x": _numbers(x),
        "y": y,
        "mode": "lines",
        "line": {"color": "--muted", "width": 3},
        "opacity": 0.5,
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _readings(series: Readings, count: int, number: int) -> Plotly:
    there = [(row, reading) for row, reading in enumerate(series.readings) if reading is not None]
    symbol = {"triangle": "triangle-up", "cross": "x"}.get(series.mark, series.mark)
    ended = any(reading.low is not None for _, reading in there)
    # Series with intervals stand a little apart, so that these do not hide each other.
    apart = 0.16 * (number - (count - 1) / 2) if ended else 0.0
    trace: Plotly = {
        "type": "scatter",
        "name": _plain(series.name),
        "x": _numbers([reading.number for _, reading in there]),
        "y": [-row - apart for row, _ in there],
        "mode": "markers",
        # The first series is larger and open, so that an equal reading of another is seen in it.
        "marker": {
            "symbol": symbol if number else f"{symbol}-open",
            "size": 9 if number else 14,
            "color": f"--{series.role}",
            "line": {"width": 2.5},
        },
        "customdata": [_plain(reading.words) for _, reading in there],
        "hovertemplate": "%{customdata}<extra></extra>",
    }
    if ended:
        trace["error_x"] = {
            "type": "data",
            "symmetric": False,
            "array": [0 if r.high is None else r.high - r.number for _, r in there],
            "arrayminus": [0 if r.low is None else r.number - r.low for _, r in there],
            "color": f"--{series.role}",
            "thickness": 1.6,
            "width": 4,
        }
    return trace


def _plain(text: str) -> str:
    """Text that Plotly shows as it is: it reads a few HTML tags and entities in what it is given. Lines stay lines."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("\n", "<br>")
