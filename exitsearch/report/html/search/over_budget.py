"""Accuracy over budget: the choice and the baselines, between what must be and what cannot be more."""

from __future__ import annotations

import numpy as np

from exitsearch.report.html.charts.chart import Density, Figure, Line, Lines, Role
from exitsearch.report.html.page import Column, Section, Table
from exitsearch.report.html.search.searched import ALONE, GREEDY, SINGLE, Searched
from exitsearch.report.html.wording import titled
from exitsearch.report.terminal import choice
from exitsearch.search.held_out import sample_values
from exitsearch.search.problem import Array, Choice, Problem
from exitsearch.search.value import budget_curve, chances_in_time, finish_times
from exitsearch.specs.answers.samples import samples_path

# Places at which a curve is read beside those where its answers are ready, and cells of the budgets' density.
_PLACES, _CELLS = 360, 120


def section(searched: Searched) -> Section:
    """The figure, and every baseline in a table."""
    worst = searched.baseline(ALONE)
    text = ["A budget is the time allowed for one answer. A higher line is a better answer within that time."]
    if worst is not None:
        text.append(
            f"Weighed by how likely each budget is, the choice comes to {searched.result.value:.4f} and the backbone "
            f"alone to {worst.value:.4f}."
        )
    return Section(
        key="over-budget",
        title=titled(f"{searched.value_words} over budget"),
        text=text,
        figures=[figure(searched)],
        tables=[_baselines(searched)],
    )


def figure(searched: Searched) -> Figure:
    """The curves above the density of the budgets."""
    problem, result = searched.result.problem, searched.result
    end = last_budget(problem)
    budgets = _places(searched, end)
    lines = [*_choice(searched, budgets), *_bounds(searched, budgets), *_rivals(searched, budgets)]
    edges = np.linspace(0.0, end, _CELLS + 1)
    inside = -np.diff(problem.budget.survival(edges))
    noise = " Latency noise as it was measured rounds the steps." if problem.slowdown else ""
    return Figure(
        key="over_budget",
        title=titled(f"{searched.value_words} of the answer in hand, by budget"),
        reading=f"On the {searched.split} split. Below: how likely each budget is ({choice.budget_words(result)})."
        f"{noise} A click on a name in the legend shows or hides its line.",
        told=f"{searched.value_words} over the budget in milliseconds, for {', '.join(line.name for line in lines)}; "
        "the numbers stand in the tables of this page.",
        drawn=Lines(
            across="budget (ms)",
            up=searched.value_words,
            lines=lines,
            density=Density("budgets", edges.tolist(), [*inside.tolist(), float(inside[-1])]),
        ),
    )


def last_budget(problem: Problem) -> float:
    """Right end of the figure: past the full model, and past most budgets."""
    return float(max(1.15 * problem.final_ms, min(problem.budget.quantile(0.99), 3 * problem.final_ms)))


def _places(searched: Searched, end: float) -> Array:
    """Where the curves are read: evenly, and where an answer of the choice is ready, which makes its steps exact."""
    ready = finish_times(searched.result.problem, searched.result.choice)
    table = searched.result.config.confidence
    points = [point.budget_ms for point in table.points] if table is not None else []
    return np.unique(np.concatenate([np.linspace(0.0, end, _PLACES), ready[ready <= end], points]))


def _line(name: str, budgets: Array, heights: Array, role: Role, **more: object) -> Line:
    return Line(name, budgets.tolist(), heights.tolist(), role, join="step", **more)  # type: ignore[arg-type]


def _choice(searched: Searched, budgets: Array) -> list[Line]:
    """The choice; also on the report split, and under `confidence` by its thresholds."""
    result, problem = searched.result, searched.result.problem
    table = result.config.confidence
    plain = budget_curve(problem, result.choice, budgets, noise=True)
    if table is not None:
        costs = [point.budget_ms for point in table.points]
        heights = np.array([problem.fallback, *(point.value for point in table.points)])
        by_points = heights[np.searchsorted(costs, budgets, side="right")]
        return [
            _line("the choice, by confidence", budgets, by_points, "choice", width=3.2),
            _line("the choice, interrupted", budgets, plain, "first", dash="dashdot"),
        ]
    lines = [_line("the choice", budgets, plain, "choice", width=3.2)]
    report = searched.outcomes.report_split
    if report is not None:
        values = searched.outcomes.values(report)
        scores = [values[c.placement, c.head] for c in problem.chosen(result.choice)]
        scores.append(searched.outcomes.final_value(report))
        held_out = budget_curve(problem, result.choice, budgets, noise=True, scores=scores)
        lines.append(_line("the choice, held out", budgets, held_out, "choice", dash="dot", hidden=True))
    return lines


def _bounds(searched: Searched, budgets: Array) -> list[Line]:
    """What the choice cannot exceed: were budgets known, were any exit at hand, were an oracle to choose the exit."""
    problem, choice = searched.result.problem, searched.result.choice
    lines = []
    if problem.policy == "interruptible":
        known = budget_curve(problem, choice, budgets, policy="contract", noise=True)
        lines.append(_line("contract bound: the same exits, budget known", budgets, known, "second", dash="dash"))
    everything: Choice = tuple(range(len(problem.candidates)))
    best = budget_curve(problem, everything, budgets, policy="contract", noise=True)
    name = "the best of all exits, budget known"
    lines.append(_line(name, budgets, best, "bound", dash="dot", hidden=problem.policy == "interruptible"))
    oracle = None if searched.by_confidence else _oracle(searched, budgets)
    if oracle is not None:
        lines.append(_line("oracle exit (a bound)", budgets, oracle, "bound", dash="dash"))
    return lines


def _oracle(searched: Searched, budgets: Array) -> Array | None:
    """Every sample gets the best answer that any chosen exit has ready; None where only scores are known."""
    problem, choice = searched.result.problem, searched.result.choice
    folder, split = searched.outcomes.document.folder, searched.outcomes.choice_split
    if folder is None or not samples_path(folder, split).exists():
        return None
    each = sample_values(problem, choice, searched.outcomes, split)
    if each is None:
        return None
    ready = finish_times(problem, choice)
    order = np.argsort(ready, kind="stable")
    best = np.maximum.accumulate(each[:, order], axis=1).mean(axis=0)  # [exits + 1]
    gains = np.diff(np.maximum.accumulate(np.concatenate([[problem.fallback], best])))
    heights: Array = problem.fallback + chances_in_time(problem, ready[order], budgets, noise=True) @ gains
    return heights


def _rivals(searched: Searched, budgets: Array) -> list[Line]:
    """The baselines that everybody thinks of first, the best rule of thumb, and greedy adding."""
    shown: list[tuple[str, Role, bool]] = [(ALONE, "first", False), (SINGLE, "third", False)]
    rule = None if searched.by_confidence else searched.best_rule
    if rule is not None and rule.name not in (ALONE, SINGLE):
        shown.append((rule.name, "fourth", False))
    if not searched.by_confidence:
        shown.append((GREEDY, "muted", True))
    lines = []
    for name, role, hidden in shown:
        row = searched.baseline(name)
        if row is None:
            continue
        heights = budget_curve(searched.result.problem, searched.choice_of(row), budgets, noise=True)
        lines.append(_line(name, budgets, heights, role, dash="solid" if name == ALONE else "dashdot", hidden=hidden))
    return lines


def _baselines(searched: Searched) -> Table:
    """The choice and every baseline, the best first."""
    result = searched.result
    chosen = tuple((c.placement, c.head) for c in result.problem.chosen(result.choice))
    rows = [("exitsearch (the choice)", chosen, result.value, result.held_out)]
    rows += [(row.name, row.exits, row.value, row.held_out) for row in result.baselines]
    rows.sort(key=lambda row: -row[2])  # stable: the choice first among equals
    held_out = [Column("held out", ".4f", "expected value on the report split")] if result.held_out is not None else []
    return Table(
        title="Beside the baselines",
        columns=[
            Column("what"),
            Column("exits", "d", "early exits"),
            Column("expected value", ".4f", f"on the {searched.split} split, over the budgets"),
            Column("below the choice", ".4f"),
            *held_out,
            Column("at"),
        ],
        rows=[
            [name, len(exits), value, result.value - value, *([held] if held_out else []), exits_words(exits)]
            for name, exits, value, held in rows
        ],
        marked=[number for number, row in enumerate(rows) if row[1] is chosen],
    )


def exits_words(exits: tuple[tuple[int, str], ...]) -> str:
    """Exits as a table names them: where all have one head, its placements and then the head once."""
    heads = {head for _, head in exits}
    if len(heads) == 1 and len(exits) > 1:
        return f"{', '.join(str(place) for place, _ in exits)} ({heads.pop()})"
    return ", ".join(f"{place}:{head}" for place, head in exits) or "none"
