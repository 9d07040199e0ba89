"""Accuracy over budget of a trained model, as a figure."""

from __future__ import annotations

import numpy as np

from exitsearch.pipeline.trained.curves import Curve, OverBudget
from exitsearch.report.html.charts.chart import Dash, Density, Figure, Line, Lines, Role
from exitsearch.report.html.wording import titled

# Cells of the budgets' density, and how far beyond the last answer the figure reaches.
_CELLS, _BEYOND = 120, 1.15


def over_budget_figure(found: OverBudget) -> Figure:
    """Score over budget of a trained model and of what could stand in its place, above the density of the budgets."""
    end = _BEYOND * max((point[0] for curve in found.curves for point in curve.points), default=1.0)
    edges = np.linspace(0.0, end, _CELLS + 1)
    inside = np.diff(found.chances_within(edges.tolist()))
    return Figure(
        key="accuracy_over_budget",
        title=titled(f"{found.metric} over budget, on the report split"),
        reading="Below: how likely each budget is. The oracle exit is a bound and no method.",
        told="Expected: " + ", ".join(f"{curve.name} {curve.expected:.4f}" for curve in found.curves) + ".",
        drawn=Lines(
            across="budget (ms)" + (", mean over inputs" if found.policy == "confidence" else ""),
            up=f"{found.metric} (report split)",
            lines=_lines(found, end),
            density=Density("budgets", edges.tolist(), [*inside.tolist(), float(inside[-1])]),
        ),
    )


def _lines(found: OverBudget, end: float) -> list[Line]:
    statics: list[Role] = ["first", "third", "fourth", "second", "bad"]
    lines: list[Line] = []
    for curve in found.curves:
        if not curve.points:
            continue
        looks: dict[str, tuple[Role, Dash]] = {
            "multi-exit": ("choice", "solid"),
            "backbone": ("second", "dashdot"),
            "static": (statics[sum(line.dash == "dot" for line in lines) % len(statics)], "dot"),
            "oracle": ("bound", "dash"),
        }
        role, dash = looks[curve.kind]
        lines.append(_line(curve, role, dash, end))
    return lines


def _line(curve: Curve, role: Role, dash: Dash, end: float) -> Line:
    times, scores = [point[0] for point in curve.points], [point[1] for point in curve.points]
    return Line(
        curve.name,
        [*times, max(end, times[-1])],
        [*scores, scores[-1]],
        role,
        join="step" if curve.between == "step" else "line",
        dash=dash,
        width=3.0 if curve.kind == "multi-exit" else 1.8,
    )
