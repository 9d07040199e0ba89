"""Charts on paper: where their lines go, what they are called, and that a picture is always the same."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from exitsearch.report.html.charts.chart import (
    Bar,
    Bars,
    Compared,
    Density,
    Figure,
    Flag,
    Grid,
    Line,
    Lines,
    Reading,
    Readings,
    Span,
)
from exitsearch.report.html.charts.colours import DARK, LIGHT, TURNING_LIGHT, shown_turning
from exitsearch.report.html.charts.interactive import plotly_figure
from exitsearch.report.html.charts.pictures import picture, png_bytes, svg_text, write_pictures

LINES = Lines(
    "budget (ms)",
    "accuracy",
    [
        Line("the choice", [0, 3, 7], [0, 0.6, 0.8], "choice", join="step"),
        Line("marks", [1, 2], [0.5, None], "first", join="none", mark="diamond", words=["one", "two"]),
        Line("put aside", [0, 1], [0, 1], "bound", hidden=True),
    ],
    density=Density("budgets", [0, 5, 10], [0.5, 0.5, 0.5]),
    level=("optimum", 0.9),
)
BARS = Bars("ms", [Bar("one", [Span(0, 2, "choice", "w", "0"), Span(2, 3, "first", "h")], [Flag(3, "a", "w")])],
            [("choice", "segment"), ("first", "head")])  # fmt: skip
GRID = Grid("placement", "", ["0", "1"], ["a", "b"], [[0.1, None], [-0.2, 0.3]], [["w"] * 2] * 2, "gain", [(1, 0)], 0.0)
COMPARED = Compared("value", ["x", "y"], [
    Readings("predicted", "choice", "circle", [Reading(0.5, "w", 0.4, 0.7), None]),
    Readings("observed", "first", "diamond", [Reading(0.6, "w", 0.55, 0.65), Reading(0.2, "w")]),
])  # fmt: skip
KINDS = [LINES, BARS, GRID, COMPARED]


@pytest.mark.parametrize("drawn", KINDS, ids=lambda drawn: type(drawn).__name__)
def test_the_same_chart_is_the_same_picture(drawn):
    one, other = (svg_text(picture(drawn, title="costs $1")) for _ in range(2))
    assert ElementTree.fromstring(one).tag.endswith("svg")
    assert one == other
    assert png_bytes(picture(drawn)) == png_bytes(picture(drawn))


def test_lines_on_paper():
    axes, below = picture(LINES).axes
    choice, marks, level = axes.lines
    assert choice.get_drawstyle() == "steps-post"
    assert list(choice.get_ydata()) == [0, 0.6, 0.8]
    assert choice.get_color() == LIGHT["choice"]
    assert (marks.get_linestyle(), marks.get_marker()) == ("None", "D")
    assert np.isnan(marks.get_ydata()[1])
    assert level.get_ydata()[0] == 0.9
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["the choice", "marks", "optimum"]
    assert (axes.get_ylabel(), below.get_xlabel()) == ("accuracy", "budget (ms)")


def test_lines_in_a_page():
    drawn = plotly_figure(LINES)
    choice, marks, hidden, level, density = drawn["data"]
    assert (choice["x"], choice["y"], choice["line"]["shape"]) == ([0, 3, 7], [0, 0.6, 0.8], "hv")
    assert (marks["mode"], marks["y"], marks["customdata"]) == ("markers", [0.5, None], ["one", "two"])
    assert hidden["visible"] == "legendonly"
    assert level["y"] == [0.9, 0.9]
    assert (density["yaxis"], density["hoverinfo"]) == ("y2", "skip")
    low, high = drawn["layout"]["yaxis2"]["domain"], drawn["layout"]["yaxis"]["domain"]
    assert low[1] < high[0]


def test_bars_are_as_long_as_they_take():
    segments, heads, flags = plotly_figure(BARS)["data"]
    assert (segments["base"], segments["x"], heads["base"], heads["x"]) == ([0], [2], [2], [1])
    assert flags["x"] == [3]
    axes = picture(BARS).axes[0]
    assert [(patch.get_x(), patch.get_width()) for patch in axes.patches] == [(0, 2), (2, 1)]


def test_a_map_turns_where_it_must():
    heat, chosen = plotly_figure(GRID)["data"]
    assert (heat["zmin"], heat["zmax"]) == (-0.3, 0.3)
    assert heat["z"] == [[0.1, None], [-0.2, 0.3]]
    assert (chosen["x"], chosen["y"]) == (["0"], ["b"])
    assert picture(GRID).axes[0].images[0].get_clim() == (-0.3, 0.3)


@pytest.mark.parametrize(
    ("numbers", "low", "high", "first"),
    [
        ([0.1, 0.4], 0.0, 0.4, 2),
        ([0.4, -0.001], 0.0, 0.4, 2),
        ([-0.5, -0.1], -0.5, 0.0, 0),
        ([0.1, -0.4], -0.4, 0.4, 0),
    ],
)
def test_only_the_side_that_there_is(numbers, low, high, first):
    grid = Grid("", "", ["0"], ["a", "b"], [[n] for n in numbers], [[""], [""]], "", around=0.0)
    found = shown_turning(grid)
    assert (found.low, found.high, found.colours[0]) == (pytest.approx(low), pytest.approx(high), first)
    assert max(found.colours) < len(TURNING_LIGHT)


def test_intervals_reach_to_their_ends():
    _, predicted, observed = plotly_figure(COMPARED)["data"]
    bars = predicted["error_x"]
    assert (bars["array"], bars["arrayminus"]) == ([pytest.approx(0.2)], [pytest.approx(0.1)])
    assert observed["error_x"]["array"][1] == 0
    # Readings of one row stand apart, so that no interval hides another.
    assert predicted["y"][0] != observed["y"][0]
    assert round(predicted["y"][0]) == round(observed["y"][0]) == 0


def _luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    r, g, b = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def test_every_colour_is_seen_on_its_ground():
    """WCAG 2.2, 1.4.11: graphics stand out from what is beside them by 3 to 1."""
    for colours, ground in ((LIGHT, "#ffffff"), (DARK, "#11161c")):
        for role, colour in colours.items():
            light, dark = sorted((_luminance(colour), _luminance(ground)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 3, role


def test_pictures_are_written(tmp_path):
    written = write_pictures([Figure("one", "t", "r", "w", LINES)], tmp_path / "plots")
    assert [path.name for path in written] == ["one.png", "one.svg"]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    assert written[1].read_text().startswith("<svg")
