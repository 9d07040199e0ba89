"""Figures as SVG text, for HTML pages."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from exitsearch.search.problem import Choice, Problem
from exitsearch.search.value import budget_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POINTS = 800


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
    shade = axes.twinx()
    density = -np.diff(problem.budget.survival(budgets))
    shade.fill_between(budgets[1:], density, step="pre", color="grey", alpha=0.15, linewidth=0)
    shade.set(yticks=[], ylim=(0, 3 * max(float(density.max()), 1e-12)))
    return svg_text(figure)


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
