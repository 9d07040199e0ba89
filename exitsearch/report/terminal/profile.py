"""A profile on the terminal: what segments and heads cost, how sure that is, and the same in short for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import RenderableType

from exitsearch.measure.timing import statistics
from exitsearch.report.terminal.layout import FirstThatFits, Rows, rows_table
from exitsearch.specs.profile import Cost, HeadCost, Profile
from exitsearch.specs.verdict import Verdict

_MILLION, _BILLION = 1e6, 1e9
# The first to go where it is narrow.
_LESSER = ("p95 ms", "p90 ms", "GFLOPs", "p99 ms", "mJ", "params (M)", "GMACs", "module", "mJ so far", "so far")


def profile_tables(profile: Profile, *, flops: bool = False) -> list[RenderableType]:
    """Two tables: what every segment costs, and what every head costs at every placement.

    Args:
        profile: of one batch size.
        flops: show FLOPs beside the multiply-accumulates.
    """
    return [_segments_table(profile, flops), *([_heads_table(profile)] if profile.heads else [])]


def _segments_table(profile: Profile, flops: bool) -> Rows:
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
    return rows_table(f"Segments of {profile.condition()}", rows, lesser=_LESSER)


def _heads_table(profile: Profile) -> RenderableType:
    """Heads over placements where that fits, or placements over heads; else a line a head, which says most of it.

    A cost at one placement and at the next differ little for most heads, so that the summary is no poor one.
    """
    costs = {(cost.head, cost.placement): cost for cost in profile.heads}
    heads = list(dict.fromkeys(cost.head for cost in profile.heads))
    placements = sorted({cost.placement for cost in profile.heads})
    timed = profile.is_timed
    block = statistics.median([_amount(segment, timed) or 0.0 for segment in profile.segments])

    def cell(head: str, placement: int, *, share: bool) -> str:
        cost = costs.get((head, placement))
        amount = None if cost is None else _amount(cost, timed)
        if amount is None:
            return ""
        return f"{amount:.3f} ({_share(amount, block):.0%})" if share else f"{amount:.3f}"

    unit = "ms" if timed else "GMACs"
    title, shares = f"Exit heads at each placement: {unit}", " (share of a block, the median segment)"
    over = [{"head": head} | {str(p): cell(head, p, share=True) for p in placements} for head in heads]
    under, plain = (
        [{"placement": str(p)} | {head: cell(head, p, share=share) for head in heads} for p in placements]
        for share in (True, False)
    )
    forms = [rows_table(title + shares, over), rows_table(title + shares, under), rows_table(title, plain)]
    by_head = {head: [cost for cost in profile.heads if cost.head == head] for head in heads}
    wide = min(form.least_width() for form in forms)
    return FirstThatFits(
        *forms,
        rows_table(
            title + f" ({wide} columns show each, --heads A,B some)",
            [_summary_row(head, found, block=block, timed=timed) for head, found in by_head.items()],
            lesser=("params (M)",),
        ),
    )


def _summary_row(head: str, costs: Sequence[HeadCost], *, block: float, timed: bool) -> dict[str, Any]:
    """What a head costs over all its placements."""
    amounts = sorted((amount, cost.placement) for cost in costs if (amount := _amount(cost, timed)) is not None)
    params = [cost.params for cost in costs if cost.params is not None]
    row: dict[str, Any] = {"head": head}
    if not amounts:
        return row | dict.fromkeys(("placements", "median", "of a block", "least", "most", "params (M)"), "")
    middle = statistics.median([amount for amount, _ in amounts])
    (least, cheapest), (most, dearest) = amounts[0], amounts[-1]
    return row | {
        "placements": str(len(amounts)),
        "median": f"{middle:.3f}",
        "of a block": f"{_share(middle, block):.0%}",
        "least": f"{least:.3f} at {cheapest}",
        "most": f"{most:.3f} at {dearest}",
        "params (M)": _scaled(round(statistics.median(params)), _MILLION, 3) if params else "",
    }


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


def verdict_words(verdict: Verdict) -> str:
    """A verdict with a line for each of its reasons."""
    return "\n".join(str(verdict).split("; "))


def doubt(verdict: Verdict, *, where: str) -> str | None:
    """A sentence where times are in doubt; None where they are not.

    Args:
        where: all the reasons can be read.
    """
    if verdict.status in ("ok", "given"):
        return None
    first, *others = [f"{reason.what} ({reason.number:.3g}): {reason.remedy}" for reason in verdict.reasons] or [""]
    more = f"; {where} names {len(others)} more" if others else ""
    return f"{verdict.status}{' for ' if first else ''}{first}{more}"


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
