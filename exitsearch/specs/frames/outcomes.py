"""Outcomes as a table: a row for every head, the final exit and every split; in short, one for every placement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from exitsearch.specs.frames.columns import FINAL, HEAD, MODULE, PLACEMENT, SPLIT
from exitsearch.specs.frames.frame import Cell, Column, Frame, counted

if TYPE_CHECKING:
    from exitsearch.specs.outcomes import FinalOutcome, HeadOutcome, Outcomes


def _title(outcomes: Outcomes) -> str:
    over = outcomes.backbone.name or "a backbone without a name"
    splits = ", ".join(f"{name} ({count or 'unknown'})" for name, count in outcomes.splits.items())
    return f"outcomes over {over}: {outcomes.metric} of {counted(len(outcomes.heads), 'head')}, samples of {splits}"


def _rows(outcomes: Outcomes) -> Iterator[tuple[Cell, ...]]:
    sign = -1.0 if outcomes.metric == "mae" else 1.0
    exits: list[tuple[tuple[Cell, ...], HeadOutcome | FinalOutcome]] = [
        *(((head.placement, head.module, head.head), head) for head in outcomes.heads),
        ((None, None, FINAL), outcomes.final),
    ]
    for place, found in exits:
        sure = found.calibration
        for split, samples in outcomes.splits.items():
            score = found.scores[split]
            yield (
                *place,
                split,
                samples or None,
                score,
                sign * score,
                *((sure.temperature, sure.ece.get(split), sure.auroc.get(split)) if sure else (None, None, None)),
            )


def _placements(outcomes: Outcomes) -> Iterator[tuple[Cell, ...]]:
    sign = -1.0 if outcomes.metric == "mae" else 1.0
    split, other = outcomes.choice_split, outcomes.report_split

    def value(head: HeadOutcome) -> float:
        return sign * head.scores[split]

    for placement in sorted({head.placement for head in outcomes.heads}):
        here = [head for head in outcomes.heads if head.placement == placement]
        best, worst = max(here, key=value), min(here, key=value)
        held_out = best.scores[other] if other else None
        yield (str(placement), len(here), best.head, best.scores[split], held_out, worst.head, worst.scores[split])
    held_out = outcomes.final.scores[other] if other else None
    yield (FINAL, None, None, outcomes.final.scores[split], held_out, None, None)


def _notes(outcomes: Outcomes) -> list[str]:
    notes = [f"Scores are on the {outcomes.choice_split} split, held out on the report split."]
    if outcomes.report_split is None:
        notes = [f"Scores are on the {outcomes.choice_split} split; there is no other to judge a choice on."]
    source = [f"Source: {outcomes.source}."] if outcomes.source else []
    return [*notes, *source, *(f"{dropped}." for dropped in outcomes.dropped)]


OUTCOMES = Frame(
    title=_title,
    columns={
        "placement": PLACEMENT,
        "module": MODULE,
        "head": HEAD,
        "split": SPLIT,
        "samples": Column("of the split; missing: unknown", "whole"),
        "score": Column("in the metric's own sign: accuracy from 0 to 1, or mean absolute error"),
        "value": Column("higher is better: accuracy, or minus the error"),
        "temperature": Column("by which outputs are divided before the softmax"),
        "ece": Column("expected calibration error at the temperature, from 0 to 1"),
        "auroc": Column("how likely a right answer is surer than a wrong one, from 0 to 1"),
    },
    rows=_rows,
    brief=Frame(
        title=_title,
        columns={
            "placement": Column("number of the placement, or final", "text"),
            "heads": Column("how many were trained here", "whole"),
            "best head": Column("the head type with the best score on the split that is chosen on", "text"),
            "score": Column("its score on the split that is chosen on"),
            "held out": Column("its score on the report split"),
            "worst head": Column("the head type with the worst score", "text"),
            "its score": Column("on the split that is chosen on"),
        },
        rows=_placements,
        notes=_notes,
    ),
)
