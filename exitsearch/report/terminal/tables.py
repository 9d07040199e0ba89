"""Tables for people and summaries for machines, from the documents that the steps write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.table import Table

from exitsearch.measure.timing import statistics
from exitsearch.report.terminal.calibration import calibration_rows
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Cost, Profile

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


def profile_tables(profile: Profile, *, flops: bool = False) -> list[Table]:
    """Two tables: a row a segment with its costs, and a row a head with its cost at every placement.

    Args:
        profile: of one batch size.
        flops: show FLOPs beside the multiply-accumulates.
    """
    return [_segments_table(profile, flops), *([_heads_table(profile)] if profile.heads else [])]


def _segments_table(profile: Profile, flops: bool) -> Table:
    parts: list[tuple[str, str, Cost]] = [(str(s.placement), s.module or "", s) for s in profile.segments]
    parts.append(("final", "", profile.final))
    known = {p for p in (90, 95, 99) if all(statistics.percentile(cost.samples_ms, p) for _, _, cost in parts)}
    energies = all(cost.energy_mj is not None for _, _, cost in parts)
    rows: list[dict[str, Any]] = []
    arrival, energy = 0.0, 0.0
    for placement, module, cost in parts:
        row: dict[str, Any] = {"placement": placement, "module": module, "GMACs": _scaled(cost.macs, _BILLION, 4)}
        if flops:
            row["GFLOPs"] = _scaled(None if cost.macs is None else 2 * cost.macs, _BILLION, 4)
        row["params (M)"] = _scaled(cost.params, _MILLION, 3)
        if cost.latency_ms is not None:
            low, high = cost.interval_ms or (cost.latency_ms, cost.latency_ms)
            arrival += cost.latency_ms
            row["ms"] = f"{cost.latency_ms:.3f}"
            row["95% interval"] = f"{low:.3f} to {high:.3f}"
            row |= {f"p{p} ms": f"{statistics.percentile(cost.samples_ms, p):.3f}" for p in sorted(known)}
            row["share"] = f"{_share(cost.latency_ms, profile.full_ms):.1%}"
            row["arrives ms"] = f"{arrival:.3f}"
            row["so far"] = f"{_share(arrival, profile.full_ms):.1%}"
        if energies:
            energy += cost.energy_mj or 0.0
            row["mJ"], row["mJ so far"] = f"{cost.energy_mj:.2f}", f"{energy:.2f}"
        rows.append(row)
    return rows_table(f"Segments of {profile.condition()}", rows)


def _heads_table(profile: Profile) -> Table:
    """Each head's cost at each placement and, in brackets, as a share of a block: of the median segment."""
    costs = {(cost.head, cost.placement): cost for cost in profile.heads}
    placements = sorted({cost.placement for cost in profile.heads})
    timed = profile.is_timed
    block = statistics.median([_amount(segment, timed) or 0.0 for segment in profile.segments])
    rows: list[dict[str, Any]] = []
    for head in dict.fromkeys(cost.head for cost in profile.heads):
        row: dict[str, Any] = {"head": head}
        for placement in placements:
            cost = costs.get((head, placement))
            amount = None if cost is None else _amount(cost, timed)
            row[str(placement)] = "" if amount is None else f"{amount:.3f} ({_share(amount, block):.0%})"
        rows.append(row)
    unit = "ms" if timed else "GMACs"
    return rows_table(f"Exit heads at each placement: {unit} (share of a block, the median segment)", rows)


def _amount(cost: Cost, timed: bool) -> float | None:
    """Milliseconds, or billions of multiply-accumulates."""
    return cost.latency_ms if timed else None if cost.macs is None else cost.macs / _BILLION


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _scaled(number: int | None, unit: float, digits: int) -> str:
    return "" if number is None else f"{number / unit:.{digits}f}"


def profile_lines(profile: Profile) -> list[str]:
    """What stands below the profile's tables: totals, what was not counted, noise, energy and the verdict."""
    lines = []
    macs = [cost.macs for cost in (*profile.segments, profile.final)]
    if all(count is not None for count in macs):
        total = sum(count for count in macs if count is not None)
        lines.append(f"backbone: {total / _BILLION:.4f} GMACs (1 MAC = 2 FLOPs)")
    if profile.protocol.get("not_counted"):
        lines.append(f"not counted (elementwise): {profile.protocol['not_counted']}")
    if profile.protocol.get("macs_disagreement"):
        lines.append(f"the two counters disagree on: {profile.protocol['macs_disagreement']}")
    if profile.is_timed:
        line = f"full model: {profile.full_ms:.3f} ms as the sum of its parts"
        if profile.whole is not None and profile.whole.latency_ms:
            whole = profile.whole.latency_ms
            line += f", {whole:.3f} ms for the plain backbone in the same rounds (ratio {profile.full_ms / whole:.3f})"
        lines.append(line)
    if profile.protocol.get("host_bound"):
        lines.append("host-bound: the device waits for the host; a faster device would change little")
    if "gpu_clocks" in profile.environment.state:
        lines.append(f"the GPU's clock: {profile.environment.state['gpu_clocks']}")
    if "energy" in profile.protocol:
        idle = profile.protocol.get("idle_power_w")
        lines.append(f"energy: {profile.protocol['energy']}" + (f" ({idle} W when idle)" if idle is not None else ""))
    lines.append(f"verdict: {profile.verdict}")
    return lines


def profile_summary(profile: Profile) -> dict[str, Any]:
    """The profile in a few numbers, for `--json`."""
    return {
        "condition": profile.condition(),
        "batch_sizes": profile.batch_sizes,
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
    """One row a placement, one column a head type: scores on the split that a search chooses on.

    An error is followed by its share of the best constant answer's, where that is known.
    """
    split = outcomes.choice_split
    shares = ", in brackets as a share of the best constant answer's" if split in outcomes.constant_errors else ""
    table = Table(
        title=f"{outcomes.metric} of every head over {outcomes.backbone.name} on the {split} split "
        f"({outcomes.splits[split] or 'unknown number of'} samples){shares}",
        title_justify="left",
    )
    table.add_column("placement", justify="right", overflow="fold")
    frame = outcomes_frame(outcomes)
    for head in frame.columns:
        table.add_column(str(head), justify="right", overflow="fold")
    for placement, row in frame.iterrows():
        table.add_row(str(placement), *("" if pd.isna(score) else _scored(outcomes, score) for score in row))
    table.add_row("final", _scored(outcomes, outcomes.final.scores[split]), end_section=True)
    return table


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


def trained_table(config: MultiExitConfig, scores: Mapping[str, Sequence[float]]) -> Table:
    """Every exit of a trained model: what the search predicted beside what the trained weights reach.

    Args:
        config: the configuration that was trained.
        scores: per split, the metric of each chosen exit and last of the final exit.
    """
    metric = config.expected.metric
    table = Table(title=f"{metric} of every exit: predicted by the search, and after training", title_justify="left")
    for column in ("exit", "module", "head"):
        table.add_column(column, overflow="fold")
    splits = list(scores)
    for split in splits:
        for what in (f"{split} predicted", f"{split} trained", "difference"):
            table.add_column(what, justify="right", overflow="fold")
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
