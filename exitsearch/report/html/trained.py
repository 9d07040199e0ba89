"""`report.html` of a trained model: every exit predicted and trained, and accuracy over budget beside what could stand
in its place.
"""

from __future__ import annotations

from pathlib import Path

from exitsearch.pipeline.trained.after import AfterTraining, TrainedExit
from exitsearch.pipeline.trained.curves import OverBudget
from exitsearch.pipeline.trained.question import Worth
from exitsearch.report.html.charts.chart import Compared, Figure, Reading, Readings
from exitsearch.report.html.charts.pictures import write_pictures
from exitsearch.report.html.page import Cell, Column, Fact, Page, Section, Table, write_page
from exitsearch.report.html.trained_curves import over_budget_figure
from exitsearch.report.html.wording import titled
from exitsearch.report.terminal import after as words
from exitsearch.report.terminal.budgets import asked_budget


def write_trained(after: AfterTraining, found: OverBudget | None, path: Path | str) -> Path:
    """Write the report of a trained model as one page, whole or not at all.

    Args:
        found: accuracy over budget; None where only scores are known.

    Raises:
        FileError: the file cannot be written.
    """
    return write_page(trained_page(after, found), path)


def write_trained_plots(after: AfterTraining, found: OverBudget | None, folder: Path | str) -> list[Path]:
    """Write every figure of the report as PNG and SVG.

    Raises:
        FileError: a file cannot be written.
    """
    return write_pictures(trained_page(after, found).figures, folder)


def trained_page(after: AfterTraining, found: OverBudget | None) -> Page:
    """The page of a trained model."""
    config, value, predicted = after.config, after.value, after.predicted
    held_out = "" if value.held_out is None else f", {value.held_out:.4f} held out"
    change = value.value - predicted.value
    return Page(
        title=f"Trained: {config.backbone.name or 'a multi-exit model'}",
        sentence=f"The trained exits are worth {value.value:.4f}{held_out} for budgets {asked_budget(config)}; "
        f"the search predicted {predicted.value:.4f} ({change:+.4f}).",
        about=f"Trained in {after.folder}; policy {config.policy}; outcomes {after.outcomes.source or 'unnamed'}.",
        facts=_facts(after),
        warnings=after.notes,
        sections=[_exits(after), _worth(after), *([] if found is None else [_over_budget(found)])],
    )


def _facts(after: AfterTraining) -> list[Fact]:
    found = [
        Fact("Trained", f"{after.value.value:.4f}", f"{after.outcomes.choice_split} split", "choice"),
        Fact("Predicted", f"{after.predicted.value:.4f}", "by the search"),
    ]
    if after.value.held_out is not None:
        ends = after.value.interval
        about = "" if ends is None else f"95% {ends[0]:.4f} to {ends[1]:.4f}"
        found.append(Fact("Trained, held out", f"{after.value.held_out:.4f}", about, "choice"))
    if after.gain is not None:
        kept = "the trained exits stay the best choice" if after.is_best else "--refine takes it"
        found.append(Fact("Another choice would gain", f"{after.gain:+.4f}", kept))
    return found


def _name(exit_: TrainedExit) -> str:
    return "final" if exit_.placement is None else f"{exit_.placement}:{exit_.head}"


def _exits(after: AfterTraining) -> Section:
    outcomes = after.outcomes
    split = outcomes.report_split or outcomes.choice_split
    rows: list[list[Cell]] = []
    before: list[Reading | None] = []
    now: list[Reading | None] = []
    for exit_, ready in zip(after.exits, after.config.latency_ms, strict=True):
        name, predicted, trained = _name(exit_), exit_.predicted.get(split), exit_.trained[split]
        difference = None if predicted is None else trained - predicted
        rows.append([name, ready, predicted, trained, difference, exit_.chance])
        before.append(None if predicted is None else Reading(predicted, f"{name}\npredicted {predicted:.4f}"))
        now.append(Reading(trained, f"{name}\ntrained {trained:.4f}"))
    return Section(
        key="exits",
        title="Every exit, predicted and trained",
        figures=[
            Figure(
                key="trained_exits",
                title=titled(f"{outcomes.metric} on the {split} split"),
                reading="Predicted: of the frozen backbone's heads, by which the exits were chosen.",
                told="; ".join(f"{row[0]}: trained {row[3]}" for row in rows),
                drawn=Compared(
                    across=outcomes.metric,
                    rows=[str(row[0]) for row in rows],
                    series=[
                        Readings("predicted", "choice", "circle", before),
                        Readings("trained", "first", "diamond", now),
                    ],
                ),
            )
        ],
        tables=[
            Table(
                title=titled(f"{outcomes.metric} of every exit on the {split} split"),
                columns=[
                    Column("exit"),
                    Column("answers at ms", ".4g"),
                    Column("predicted", ".4f"),
                    Column("trained", ".4f"),
                    Column("difference", "+.4f"),
                    Column("chance", ".1%", "that its answer is the one that is used"),
                ],
                rows=rows,
            )
        ],
    )


def _worth(after: AfterTraining) -> Section:
    found = [("predicted by the search", after.predicted), ("the trained exits", after.value)]
    if after.again is not None:
        found.append(("the best choice now", Worth(after.again.value, after.again.held_out, after.again.interval)))
    return Section(
        key="worth",
        title="What they are worth",
        text=words.lines(after),
        tables=[
            Table(
                title=f"Expected value under {asked_budget(after.config)}, {after.config.policy}",
                columns=[
                    Column("expected value"),
                    Column(f"{after.outcomes.choice_split} split", ".4f"),
                    Column("held out", ".4f"),
                    Column("95% from", ".4f"),
                    Column("to", ".4f"),
                ],
                rows=[[what, worth.value, worth.held_out, *(worth.interval or (None, None))] for what, worth in found],
            )
        ],
    )


def _over_budget(found: OverBudget) -> Section:
    sign = 1.0 if found.metric == "accuracy" else -1.0
    curves = sorted(found.curves, key=lambda curve: (curve.kind == "oracle", -sign * curve.expected))
    rows: list[list[Cell]] = []
    for curve in curves:
        first, last = (curve.points[0], curve.points[-1]) if curve.points else ((None, None), (None, None))
        rows.append([curve.name, first[0], last[0], last[1], curve.expected])
    tables = [
        Table(
            title=titled(f"{found.metric} over budget: {found.policy}, {found.asked}"),
            columns=[
                Column("what"),
                Column("answers from ms", ".4g"),
                Column("to ms", ".4g"),
                Column(f"{found.metric} at the end", ".4f"),
                Column("expected", ".4f"),
            ],
            rows=rows,
            marked=[number for number, curve in enumerate(curves) if curve.kind == "multi-exit"],
        )
    ]
    if found.statics:
        tables.append(
            Table(
                title="Static models",
                columns=[
                    Column("model"),
                    Column("parameters", ",d"),
                    Column("began with"),
                    Column("epochs", "d"),
                    Column("ms", ".4g"),
                    Column("95% from", ".4g"),
                    Column("to", ".4g"),
                ],
                rows=[
                    [
                        one.name,
                        one.parameters,
                        one.weights,
                        one.epochs,
                        one.latency_ms,
                        *(one.interval_ms or (None,) * 2),
                    ]
                    for one in found.statics
                ],
            )
        )
    return Section(
        key="over-budget",
        title=titled(f"{found.metric} over budget"),
        text=[f"Times: {found.times.source}."],
        warnings=found.notes,
        figures=[over_budget_figure(found)],
        tables=tables,
    )
