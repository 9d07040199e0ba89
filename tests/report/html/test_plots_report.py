"""The accuracy-budget curve as it is drawn: where its lines go, and what they are called."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from rendering import toy_result

from exitsearch.report.html.plots import budget_figure

SVG = "{http://www.w3.org/2000/svg}"
# matplotlib's first three colours.
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c")


def drawn(svg, colour):
    """Points of the longest line of a colour [points, 2], in SVG's coordinates: y grows downwards."""
    lines = []
    for path in ElementTree.fromstring(svg).iter(f"{SVG}path"):
        if f"stroke: {colour}" in path.get("style", ""):
            numbers = re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path.get("d"))
            lines.append(np.array(numbers, dtype=float))
    return max(lines, key=len)


def words(svg):
    """What is written in a figure: matplotlib draws words as shapes and says them in a comment."""
    return re.findall(r"<!-- (.*?) -->", svg)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return toy_result(tmp_path_factory.mktemp("toy"))


def test_an_answer_comes_when_it_is_ready(tmp_path):
    """Both heads a: steps at 3, 7 and 10 ms to 0.6, 0.8 and 0.9; the backbone alone: one step at 8 ms to 0.9."""
    problem = toy_result(tmp_path, budget="uniform:0,12").problem
    both = tuple(problem.positions[pair] for pair in ((0, "a"), (1, "a")))
    svg = budget_figure(problem, {"both": both, "alone": ()}, what="accuracy")
    both, alone = (drawn(svg, colour) for colour in COLOURS[:2])

    def steps(line):
        """Where a line rises, and by how much, in parts of the first curve's width and height."""
        at = np.flatnonzero(np.diff(line[:, 1]) < 0)
        return line[at + 1, 0], -np.diff(line[:, 1])[at]

    at, by = steps(both)
    assert len(at) == 3
    # 4 ms and 3 ms between the steps; 0.6, 0.2 and 0.1 up. A line has some 800 points.
    assert (at[1] - at[0]) / (at[2] - at[1]) == pytest.approx(4 / 3, rel=0.02)
    assert by / by.sum() == pytest.approx(np.array([6, 2, 1]) / 9, abs=1e-3)
    alone_at, alone_by = steps(alone)
    assert len(alone_at) == 1
    assert (alone_at[0] - at[0]) / (at[1] - at[0]) == pytest.approx(5 / 4, rel=0.02)
    assert alone_by[0] == pytest.approx(by.sum(), rel=1e-3)


def test_everything_is_named(result):
    svg = budget_figure(result.problem, {"both": result.choice, "alone": ()}, what="minus mae")
    assert {"both", "alone", "minus mae", "budget (ms)"} <= set(words(svg))
    assert "the choice, by confidence" not in words(svg)


def test_operating_points_are_steps_of_their_own(result):
    points = [(3.0, 0.6), (6.0, 0.8), (8.0, 0.9)]
    svg = budget_figure(result.problem, {"both": result.choice}, what="accuracy", points=points)
    assert "the choice, by confidence" in words(svg)
    line = drawn(svg, COLOURS[1])
    heights = sorted(set(line[:, 1]))
    assert len(heights) == 3
    assert (heights[2] - heights[1]) / (heights[1] - heights[0]) == pytest.approx(2, rel=1e-3)


def test_the_budgets_are_shaded_where_they_are(tmp_path):
    """Budgets from 4 to 6 of some 9 ms: the grey area is as wide as two thirds of the way from 4 to 7 ms."""
    result = toy_result(tmp_path, budget="uniform:4,6")
    svg = budget_figure(result.problem, {"alone": ()}, what="accuracy")
    (group,) = (g for g in ElementTree.fromstring(svg).iter(f"{SVG}g") if "PolyCollection" in g.get("id", ""))
    (path,) = group.iter(f"{SVG}path")
    area = np.array(re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path.get("d")), dtype=float)
    line = drawn(svg, COLOURS[0])
    ms = (area[:, 0] - line[0, 0]) / (line[-1, 0] - line[0, 0]) * 9.2  # the figure ends at 1.15 * 8 ms
    bottom = area[:, 1].max()
    high = ms[area[:, 1] < bottom - 1]
    assert (high.min(), high.max()) == pytest.approx((4, 6), abs=0.03)


def test_the_figure_reaches_beyond_the_full_model_and_most_budgets(tmp_path):
    """Budgets up to 16 ms, of which 99% lie below 15.84; the full model takes 8 ms, and its last step is in it."""
    result = toy_result(tmp_path, budget="uniform:0,16")
    line = drawn(budget_figure(result.problem, {"alone": ()}, what="accuracy"), COLOURS[0])
    rise = line[np.flatnonzero(np.diff(line[:, 1]) < 0)[0] + 1, 0]
    assert (rise - line[0, 0]) / (line[-1, 0] - line[0, 0]) == pytest.approx(8 / 15.84, abs=0.005)


def test_it_is_one_element_and_always_the_same(result):
    one, other = (budget_figure(result.problem, {"both": result.choice}, what="accuracy") for _ in range(2))
    assert one.startswith("<svg")
    assert ElementTree.fromstring(one).tag == f"{SVG}svg"
    assert one == other
