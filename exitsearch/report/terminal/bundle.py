"""What `exitsearch export` shows of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exitsearch.report.terminal.layout import Rows, rows_table
from exitsearch.specs.bundle import Bundle


def bundle_rows(bundle: Bundle) -> list[dict[str, Any]]:
    """A row an exit, the final one last."""
    names = [(f"{exit_.placement}:{exit_.choice}") for exit_ in bundle.exits] + ["final"]
    heads = [head.median for head in bundle.latency.heads] + [0.0]
    answers, rows = bundle.latency.answers_ms(bundle.policy), []
    for number, name in enumerate(names):
        agreement, segment = bundle.agreement[number], bundle.latency.segments[number]
        rows.append(
            {
                "exit": name,
                "value": round(bundle.values[number], 4),
                "segment (ms)": round(segment.median, 4),
                "p99 (ms)": round(segment.p99, 4),
                "head (ms)": round(heads[number], 4),
                "answers at (ms)": round(answers[number], 4),
                "largest difference": agreement.largest_difference,
                "same answers": agreement.agreement,
            }
        )
    return rows


def bundle_table(bundle: Bundle) -> Rows:
    """The rows as a table for people."""
    title = f"{bundle.model.name}: {bundle.format}, {bundle.precision}, {bundle.latency.threads} thread"
    title += "s" if bundle.latency.threads > 1 else ""
    rows = bundle_rows(bundle)
    for row in rows:
        for key in ("largest difference", "same answers"):
            row[key] = "" if row[key] is None else f"{row[key]:.2g}" if key.startswith("largest") else f"{row[key]:.4f}"
    return rows_table(title, rows)


def bundle_sentences(bundle: Bundle) -> list[str]:
    """What was found out at export, for people."""
    total = sum(facts.bytes for facts in bundle.files.values())
    found = [f"{len(bundle.files)} files, {total / 1e6:.2f} MB"]
    facts = bundle.profile.get("latency", {})
    if "chain_over_whole" in facts:
        found.append(
            f"segments one after the other over the plain backbone as one graph: {facts['chain_over_whole']:.3f}; with "
            f"every head on the way (no-exit tax): {facts['no_exit_tax']:.3f}; the plain backbone: "
            f"{facts['whole_ms']:.3f} ms"
        )
    if "predicted_over_measured" in facts:
        over = ", ".join(f"{ratio:.3f}" for ratio in facts["predicted_over_measured"])
        found.append(f"predicted over measured time of every answer: {over}")
    if pauses := bundle.latency.after_pause:
        times = ", ".join(f"{one.extra_ms:.3f} ms after {one.pause_ms:g} ms" for one in pauses)
        found.append(f"for a pause before it a request takes longer by {times}; all other times are without one")
    return found


def bundle_summary(folder: Path, bundle: Bundle) -> dict[str, Any]:
    """For machines."""
    return {
        "folder": str(folder),
        "format": bundle.format,
        "precision": bundle.precision,
        "bytes": sum(facts.bytes for facts in bundle.files.values()),
        "exits": bundle_rows(bundle),
        "latency": bundle.profile.get("latency", {}),
    }
