"""Tables for people and summaries for machines, from the documents that the steps write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.table import Table

from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile

_MILLION, _BILLION = 1e6, 1e9


def rows_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """A table with one column a key; numbers stand right."""
    table = Table(title=title, title_justify="left")
    for key, value in (rows[0] if rows else {}).items():
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        table.add_column(key, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(
            *(
                "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
                for value in row.values()
            )
        )
    return table


def profile_tables(profile: Profile) -> list[Table]:
    """Two tables: a row a segment with its costs, and a row a head with its cost at every placement."""
    return [_segments_table(profile), *([_heads_table(profile)] if profile.heads else [])]


def _segments_table(profile: Profile) -> Table:
    rows: list[dict[str, Any]] = []
    arrivals = profile.arrival_ms if profile.is_timed else [None] * len(profile.segments)
    parts = [(str(s.placement), s.module, s, t) for s, t in zip(profile.segments, arrivals, strict=True)]
    parts.append(("final", None, profile.final, profile.full_ms if profile.is_timed else None))  # type: ignore[arg-type]
    for placement, module, cost, arrival in parts:
        row: dict[str, Any] = {
            "placement": placement,
            "module": module or "",
            "GMACs": _scaled(cost.macs, _BILLION, 4),
            "params (M)": _scaled(cost.params, _MILLION, 3),
        }
        if cost.latency_ms is not None and arrival is not None:
            low, high = cost.interval_ms or (cost.latency_ms, cost.latency_ms)
            row["ms"] = f"{cost.latency_ms:.3f}"
            row["95% interval"] = f"{low:.3f} to {high:.3f}"
            row["share"] = f"{cost.latency_ms / profile.full_ms:.1%}"
            row["arrives ms"] = f"{arrival:.3f}"
        rows.append(row)
    return rows_table(f"Segments of {profile.condition()}", rows)


def _heads_table(profile: Profile) -> Table:
    costs = {(cost.head, cost.placement): cost for cost in profile.heads}
    placements = sorted({cost.placement for cost in profile.heads})
    rows: list[dict[str, Any]] = []
    for head in dict.fromkeys(cost.head for cost in profile.heads):
        row: dict[str, Any] = {"head": head}
        for placement in placements:
            cost = costs.get((head, placement))
            if cost is None:
                row[str(placement)] = ""
            elif cost.latency_ms is None:
                row[str(placement)] = _scaled(cost.macs, _BILLION, 4)
            else:
                row[str(placement)] = f"{cost.latency_ms:.3f}"
        rows.append(row)
    return rows_table(f"Exit heads at each placement, {'ms' if profile.is_timed else 'GMACs'}", rows)


def _scaled(number: int | None, unit: float, digits: int) -> str:
    return "" if number is None else f"{number / unit:.{digits}f}"


def profile_lines(profile: Profile) -> list[str]:
    """What stands below the profile's table: totals, noise and the verdict."""
    lines = []
    macs = [cost.macs for cost in (*profile.segments, profile.final)]
    if all(count is not None for count in macs):
        total = sum(count for count in macs if count is not None)
        lines.append(f"backbone: {total / _BILLION:.4f} GMACs (1 MAC = 2 FLOPs)")
    if profile.is_timed:
        line = f"full model: {profile.full_ms:.3f} ms as the sum of its parts"
        if profile.whole is not None and profile.whole.latency_ms:
            whole = profile.whole.latency_ms
            line += f", {whole:.3f} ms for the plain backbone in the same rounds (ratio {profile.full_ms / whole:.3f})"
        lines.append(line)
    lines.append(f"verdict: {profile.verdict}")
    return lines


def profile_summary(profile: Profile) -> dict[str, Any]:
    """The profile in a few numbers, for `--json`."""
    return {
        "condition": profile.condition(),
        "verdict": profile.verdict.model_dump(mode="json"),
        "full_ms": profile.full_ms if profile.is_timed else None,
        "whole_ms": profile.whole.latency_ms if profile.whole else None,
        "placements": len(profile.segments),
        "heads": len(profile.heads),
    }


def outcomes_frame(outcomes: Outcomes, split: str | None = None) -> pd.DataFrame:
    """Scores [placement x head type] on one split, in the metric's own sign."""
    split = split or outcomes.choice_split
    rows = [(o.placement, o.head, o.scores[split]) for o in outcomes.heads]
    frame = pd.DataFrame(rows, columns=["placement", "head", "score"])
    return frame.pivot(index="placement", columns="head", values="score")[list(dict.fromkeys(frame["head"]))]


def outcomes_table(outcomes: Outcomes) -> Table:
    """One row a placement, one column a head type: scores on the split that a search chooses on."""
    split = outcomes.choice_split
    table = Table(
        title=f"{outcomes.metric} of every head over {outcomes.backbone.name} on the {split} split "
        f"({outcomes.splits[split] or 'unknown number of'} samples)",
        title_justify="left",
    )
    table.add_column("placement", justify="right")
    frame = outcomes_frame(outcomes)
    for head in frame.columns:
        table.add_column(str(head), justify="right", overflow="fold")
    for placement, row in frame.iterrows():
        table.add_row(str(placement), *("" if pd.isna(score) else f"{score:.4f}" for score in row))
    table.add_row("final", f"{outcomes.final.scores[split]:.4f}", end_section=True)
    return table


def outcomes_summary(outcomes: Outcomes) -> dict[str, Any]:
    """The outcomes in a few numbers, for `--json`."""
    best = {
        split: max(outcomes.values(split).items(), key=lambda item: item[1])[0] if outcomes.heads else None
        for split in outcomes.splits
    }
    return {
        "backbone": outcomes.backbone.name,
        "metric": outcomes.metric,
        "splits": outcomes.splits,
        "final": outcomes.final.scores,
        "best": {split: None if pair is None else list(pair) for split, pair in best.items()},
    }


def trained_table(config: MultiExitConfig, scores: Mapping[str, Sequence[float]]) -> Table:
    """Every exit of a trained model: what the search predicted beside what the trained weights reach.

    Args:
        config: the configuration that was trained.
        scores: per split, the metric of each chosen exit and last of the final exit.
    """
    metric = config.expected.metric
    table = Table(title=f"{metric} of every exit: predicted by the search, and after training", title_justify="left")
    for column in ("exit", "module", "head"):
        table.add_column(column)
    splits = list(scores)
    for split in splits:
        for what in (f"{split} predicted", f"{split} trained", "difference"):
            table.add_column(what, justify="right")
    names = [(str(e.placement), e.module or "", str(e.choice)) for e in config.exits] + [("final", "", "")]
    for index, name in enumerate(names):
        cells: list[str] = []
        for split in splits:
            predicted = config.exit_scores.get(split)
            observed = scores[split][index]
            if predicted is None:
                cells += ["", f"{observed:.4f}", ""]
            else:
                cells += [f"{predicted[index]:.4f}", f"{observed:.4f}", f"{observed - predicted[index]:+.4f}"]
        table.add_row(*name, *cells)
    return table
