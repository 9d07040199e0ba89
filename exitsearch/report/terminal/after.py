"""What came after training, as tables and sentences, and accuracy over budget as a chart and a table of its points."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from exitsearch.pipeline.trained.after import AfterTraining
from exitsearch.pipeline.trained.curves import Curve, OverBudget
from exitsearch.pipeline.trained.question import Worth
from exitsearch.report.html.charts.pictures import picture, png_bytes, svg_text
from exitsearch.report.html.trained_curves import over_budget_figure
from exitsearch.report.terminal.budgets import asked_budget, short_budget
from exitsearch.report.terminal.layout import rows_table
from exitsearch.specs.document import write_bytes, write_text

CHART = "accuracy_over_budget"
COLUMNS = ("series", "kind", "budget_ms", "score", "between")


def exit_rows(after: AfterTraining) -> list[dict[str, Any]]:
    """One row an exit, the final one last: predicted and trained on the report split, or the one that is chosen on."""
    split = after.outcomes.report_split or after.outcomes.choice_split
    rows = []
    for exit_, answers_ms in zip(after.exits, after.config.latency_ms, strict=True):
        predicted, trained = exit_.predicted.get(split), exit_.trained[split]
        rows.append(
            {
                "exit": "final" if exit_.placement is None else str(exit_.placement),
                "head": exit_.head or "",
                "ms": float(f"{answers_ms:.4g}"),
                "predicted": "" if predicted is None else f"{predicted:.4f}",
                "trained": f"{trained:.4f}",
                "difference": "" if predicted is None else f"{trained - predicted:+.4f}",
                "chance": f"{exit_.chance:.1%}",
            }
        )
    return rows


def value_rows(after: AfterTraining) -> list[dict[str, Any]]:
    """Expected values: predicted, trained, and of the best choice now."""
    found = [("predicted by the search", after.predicted), ("the trained exits", after.value)]
    if after.again is not None:
        found.append(("the best choice now", Worth(after.again.value, after.again.held_out, after.again.interval)))
    return [
        {
            "expected value": what,
            f"{after.outcomes.choice_split} split": f"{worth.value:.4f}",
            "held out": "" if worth.held_out is None else f"{worth.held_out:.4f}",
            "95% interval": "" if worth.interval is None else f"{worth.interval[0]:.4f} to {worth.interval[1]:.4f}",
        }
        for what, worth in found
    ]


def lines(after: AfterTraining) -> list[str]:
    """What another choice would now gain, in sentences."""
    if after.again is None or after.gain is None:
        return []
    beside = len(after.together.borrowed) if after.together is not None else 0
    among = (
        f"the trained exits and {beside} heads of the bank over the same backbone" if beside else "the trained exits"
    )
    if after.is_best:
        return [f"Asked again of {among}, the search keeps what was trained."]
    exits = ", ".join(f"{exit_.placement}:{exit_.choice}" for exit_ in after.again.config.exits) or "none but the final"
    held_out = "" if after.gain_held_out is None else f", {after.gain_held_out:+.4f} held out"
    return [
        f"Asked again of {among}, the search would take the exits {exits}: {after.gain:+.4f} on the "
        f"{after.outcomes.choice_split} split{held_out}; --refine takes them."
    ]


def renderable(after: AfterTraining) -> list[RenderableType]:
    """Everything for the terminal but the notes."""
    split = after.outcomes.report_split or after.outcomes.choice_split
    title = f"{after.outcomes.metric} of every exit on the {split} split"
    under = f"Worth under {asked_budget(after.config)}, {after.config.policy}"
    return [rows_table(title, exit_rows(after)), rows_table(under, value_rows(after)), *lines(after)]


def summary(after: AfterTraining) -> dict[str, Any]:
    """Everything for `--json`."""
    return {
        "exits": [asdict(exit_) for exit_ in after.exits],
        "predicted": asdict(after.predicted),
        "trained": asdict(after.value),
        "again": None
        if after.again is None
        else {
            "exits": [[exit_.placement, str(exit_.choice)] for exit_ in after.again.config.exits],
            "value": after.again.value,
            "held_out": after.again.held_out,
            "interval": after.again.interval,
            "exact": after.again.config.optimum.exact,
            "gain": after.gain,
            "gain_held_out": after.gain_held_out,
            "heads_of_the_bank": len(after.together.borrowed) if after.together is not None else 0,
        },
        "notes": list(after.notes),
    }


def over_budget_rows(found: OverBudget) -> list[dict[str, Any]]:
    """One row a curve, the best expected score first."""
    sign = 1.0 if found.metric == "accuracy" else -1.0
    rows = []
    for curve in sorted(found.curves, key=lambda curve: (curve.kind == "oracle", -sign * curve.expected)):
        first, last = (curve.points[0], curve.points[-1]) if curve.points else ((0.0, 0.0), (0.0, 0.0))
        answers = f"{last[0]:.4g}" if len(curve.points) < 2 else f"{first[0]:.4g} to {last[0]:.4g}"
        rows.append(
            {
                "what": curve.name,
                "answers at ms": answers if curve.points else "never",
                f"{found.metric} at the end": f"{last[1]:.4f}" if curve.points else "",
                "expected": f"{curve.expected:.4f}",
            }
        )
    return rows


def static_rows(found: OverBudget) -> list[dict[str, Any]]:
    """One row a static model: what it is and what its training began with."""
    rows = []
    for one in found.statics:
        interval = "" if one.interval_ms is None else f"{one.interval_ms[0]:.4g} to {one.interval_ms[1]:.4g}"
        rows.append(
            {
                "model": one.name,
                "params (M)": f"{one.parameters / 1e6:.3g}",
                "began with": one.weights,
                "epochs": str(one.epochs),
                "ms": f"{one.latency_ms:.4g}",
                "95% interval": interval,
            }
        )
    return rows


def over_budget_renderable(found: OverBudget) -> list[RenderableType]:
    """Everything for the terminal but the notes."""
    title = f"{found.metric} over budget (report split): {found.policy}, {_asked(found)}"
    tables: list[RenderableType] = [rows_table(title, over_budget_rows(found))]
    if found.statics:
        tables.append(rows_table("Static models", static_rows(found)))
    return [*tables, f"Times: {found.times.source}."]


def _asked(found: OverBudget) -> str:
    """The budgets as they were asked for; of shares, in milliseconds too."""
    return f"{found.asked} ({short_budget(found.budget)} ms)" if "%" in found.asked else found.asked


def over_budget_summary(found: OverBudget) -> dict[str, Any]:
    """Everything for `--json`."""
    return {
        "metric": found.metric,
        "fallback": found.fallback,
        "budget": found.budget,
        "asked": found.asked,
        "policy": found.policy,
        "times": {
            "source": found.times.source,
            "answers_ms": list(found.times.answers_ms),
            "alone_ms": list(found.times.alone_ms),
        },
        "curves": [asdict(curve) for curve in found.curves],
        "statics": [asdict(static) for static in found.statics],
        "notes": list(found.notes),
    }


def write_over_budget(found: OverBudget, folder: Path | str) -> list[Path]:
    """Write the chart as PNG and SVG and its points as CSV, each whole or not at all.

    The table's columns are `series`, `kind` (multi-exit, backbone, static, oracle), `budget_ms`, `score` and `between`:
    from that budget on, so much, by a `step` or on a `line` to the next row of the series. Each series begins at 0 ms
    with the score of having no answer.

    Raises:
        FileError: a file cannot be written.
    """
    folder, figure = Path(folder), picture(over_budget_figure(found).drawn)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for curve in found.curves:
        table.writerows(_csv_rows(curve, found.fallback))
    return [
        write_bytes(folder / f"{CHART}.png", png_bytes(figure)),
        write_text(folder / f"{CHART}.svg", svg_text(figure)),
        write_text(folder / f"{CHART}.csv", text.getvalue()),
    ]


def _csv_rows(curve: Curve, fallback: float) -> list[tuple[str, str, float, float, str]]:
    """No answer until the first point, whatever is between the points."""
    first = (curve.name, curve.kind, 0.0, fallback, "step")
    return [first, *((curve.name, curve.kind, ms, score, curve.between) for ms, score in curve.points)]
