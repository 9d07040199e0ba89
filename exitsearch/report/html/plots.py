"""Figures: as SVG text for HTML pages, and as pictures beside what they show."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from exitsearch.pipeline.trained.curves import Curve, OverBudget
from exitsearch.search.problem import Choice, Problem
from exitsearch.search.value import budget_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINTS = 800
# Of pictures, in dots an inch of the figure's 8 by 4 inches.
_DOTS = 150


def budget_figure(
    problem: Problem, choices: Mapping[str, Choice], *, what: str, points: Sequence[tuple[float, float]] = ()
) -> str:
    """The accuracy-budget curve of several choices over the distribution of budgets.

    Args:
        problem: what was searched.
        choices: name to choice, drawn in this order.
        what: name of the vertical axis.
        points: budgets and values of the policy `confidence`'s operating points, drawn beside.

    Returns:
        An `<svg>` element.
    """
    from matplotlib.figure import Figure

    budgets = np.linspace(0.0, _last_budget(problem), _POINTS)
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for name, choice in choices.items():
        axes.plot(budgets, budget_curve(problem, choice, budgets, noise=True), label=name, drawstyle="steps-post")
    if points:
        costs, values = zip(*points, strict=True)
        axes.step(costs, values, where="post", label="the choice, by confidence")
    axes.set(xlabel="budget (ms)", ylabel=what)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    _shade(axes, budgets, -np.diff(problem.budget.survival(budgets)))
    return svg_text(figure)


def over_budget_figure(found: OverBudget) -> Figure:
    """Score over budget of a trained multi-exit model and of what could stand in its place, on the report split.

    Where budgets lie is shaded. The oracle exit is dashed: it is a bound and no method.
    """
    from matplotlib.figure import Figure

    latest = max(point[0] for curve in found.curves for point in curve.points or ((0.0, 0.0),))
    budgets = np.linspace(0.0, 1.15 * latest, _POINTS)
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for curve in found.curves:
        _draw(axes, curve, 1.15 * latest)
    axes.set(
        xlabel="budget (ms)" + (", mean over inputs" if found.policy == "confidence" else ""),
        ylabel=f"{found.metric} (report split)",
        xlim=(0.0, 1.15 * latest),
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right" if found.metric == "accuracy" else "upper right")
    _shade(axes, budgets, np.diff(found.chances_within(budgets.tolist())))
    return figure


def _draw(axes: Axes, curve: Curve, end: float) -> None:
    """One curve, from its first answer to the right end of the figure."""
    times, scores = [point[0] for point in curve.points], [point[1] for point in curve.points]
    if not times:
        return
    style = {"multi-exit": "-", "backbone": "-.", "static": "-", "oracle": "--"}[curve.kind]
    axes.plot(
        [*times, max(end, times[-1])],
        [*scores, scores[-1]],
        label=curve.name,
        linestyle=style,
        linewidth=2.2 if curve.kind == "multi-exit" else 1.3,
        color="grey" if curve.kind == "oracle" else None,
        drawstyle="steps-post" if curve.between == "step" else "default",
        marker="." if curve.kind != "oracle" else None,
        markevery=list(range(len(times))),
    )


def _shade(axes: Axes, budgets: NDArray[np.float64], density: NDArray[np.float64]) -> None:
    """Where budgets lie, in the lower third of a figure."""
    shade = axes.twinx()
    shade.fill_between(budgets[1:], density, step="pre", color="grey", alpha=0.15, linewidth=0)
    shade.set(yticks=[], ylim=(0, 3 * max(float(density.max()), 1e-12)))


def _last_budget(problem: Problem) -> float:
    """Right end of the figure: past the full model, and past most budgets."""
    return float(max(1.15 * problem.final_ms, min(problem.budget.quantile(0.99), 3 * problem.final_ms)))


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
