"""Outcomes on the terminal: what every head is worth at every placement, and the same in short for machines."""

from __future__ import annotations

from typing import Any

import pandas as pd

from exitsearch.report.terminal.calibration import calibration_rows
from exitsearch.report.terminal.layout import InParts, rows_table
from exitsearch.specs.outcomes import Outcomes


def outcomes_frame(outcomes: Outcomes, split: str | None = None) -> pd.DataFrame:
    """Scores [placement x head type] on one split, in the metric's own sign."""
    split = split or outcomes.choice_split
    rows = [(o.placement, o.head, o.scores[split]) for o in outcomes.heads]
    frame = pd.DataFrame(rows, columns=["placement", "head", "score"])
    return frame.pivot(index="placement", columns="head", values="score")[list(dict.fromkeys(frame["head"]))]


def outcomes_table(outcomes: Outcomes) -> InParts:
    """One row a placement, one column a head type: scores on the split that a search chooses on.

    An error is followed by its share of the best constant answer's, where that is known.
    """
    split = outcomes.choice_split
    shares = ", in brackets as a share of the best constant answer's" if split in outcomes.constant_errors else ""
    title = (
        f"{outcomes.metric} of every head over {outcomes.backbone.name} on the {split} split "
        f"({outcomes.splits[split] or 'unknown number of'} samples){shares}"
    )
    frame = outcomes_frame(outcomes)
    rows = [
        {"placement": str(placement)}
        | {str(head): "" if pd.isna(score) else _scored(outcomes, score) for head, score in row.items()}
        for placement, row in frame.iterrows()
    ]
    return InParts(rows_table(title, rows))


def final_line(outcomes: Outcomes) -> str:
    """What the backbone's own classifier has, which stands in no column of a head."""
    return f"final exit, the backbone's own: {_scored(outcomes, outcomes.final.scores[outcomes.choice_split])}"


def _scored(outcomes: Outcomes, score: float) -> str:
    """A score on the split that a search chooses on, and how it compares with the best constant answer's error."""
    share = outcomes.relative_error(score)
    return f"{score:.4f}" if share is None else f"{score:.4g} ({share:.0%})"


def outcomes_summary(outcomes: Outcomes) -> dict[str, Any]:
    """The outcomes in a few numbers, for `--json`."""
    best = {
        split: max(outcomes.values(split).items(), key=lambda item: item[1])[0] if outcomes.heads else None
        for split in outcomes.splits
    }
    compared = {split: outcomes.relative_error(score, split) for split, score in outcomes.final.scores.items()}
    summary: dict[str, Any] = {
        "backbone": outcomes.backbone.name,
        "metric": outcomes.metric,
        "splits": outcomes.splits,
        "final": outcomes.final.scores,
        **({"final_relative_error": compared} if outcomes.constant_errors else {}),
        "best": {split: None if pair is None else list(pair) for split, pair in best.items()},
    }
    if outcomes.dropped:
        summary["dropped"] = [head.model_dump() for head in outcomes.dropped]
    if outcomes.final.calibration is not None:
        summary["calibration"] = calibration_rows(outcomes)
    return summary
