"""A trained model on the terminal: every exit as predicted by the search and as trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from exitsearch.report.terminal.layout import Rows, rows_table
from exitsearch.specs.config import MultiExitConfig


def trained_table(config: MultiExitConfig, scores: Mapping[str, Sequence[float]]) -> Rows:
    """Every exit of a trained model: what the search predicted beside what the trained weights reach.

    Args:
        config: the configuration that was trained.
        scores: per split, the metric of each chosen exit and last of the final exit.
    """
    rows = []
    names = [(str(e.placement), e.module or "", str(e.choice)) for e in config.exits] + [("final", "", "")]
    for index, (exit_, module, head) in enumerate(names):
        row = {"exit": exit_, "module": module, "head": head}
        for split, observed in scores.items():
            predicted = config.exit_scores.get(split)
            row[f"{split} predicted"] = "" if predicted is None else f"{predicted[index]:.4f}"
            row[f"{split} trained"] = f"{observed[index]:.4f}"
            row[f"{split} difference"] = "" if predicted is None else f"{observed[index] - predicted[index]:+.4f}"
        rows.append(row)
    title = f"{config.expected.metric} of every exit: predicted by the search, and after training"
    return rows_table(title, rows, lesser=("module", *(f"{split} difference" for split in scores)))
