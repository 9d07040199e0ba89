"""Two profiles side by side: the finding in a sentence, and a row a unit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from exitsearch.measure.timing import statistics
from exitsearch.report.terminal.layout import Rows, rows_table

if TYPE_CHECKING:
    from exitsearch.measure.compare import Comparison, UnitComparison

# More heads than this, each at its placements, are summed up, a row a head.
_MOST_HEADS = 40
_AT = " at placement "


def comparison_sentence(found: Comparison) -> str:
    """Whether B is faster in all, and how many units are."""
    counts = ", ".join(f"{count} {change}" for change, count in found.counts().items())
    whole = found.in_all
    return (
        f"in all B is {whole.change}: {whole.ratio:.3f} times A's {whole.before_ms:.3f} ms "
        f"({whole.interval[0]:.3f} to {whole.interval[1]:.3f}); units: {counts}"
    )


def comparison_tables(found: Comparison, *, before: str, after: str) -> list[Rows]:
    """A row a unit; of many heads a table of their own with a row a head."""
    heads = [unit for unit in found.units if _AT in unit.unit]
    title = f"B {after} over A {before}"
    if len(heads) <= _MOST_HEADS:
        return [rows_table(title, [_row(unit) for unit in found.units])]
    by_head: dict[str, list[UnitComparison]] = {}
    for unit in heads:
        by_head.setdefault(unit.unit.split(_AT)[0], []).append(unit)
    return [
        rows_table(title, [_row(unit) for unit in found.units if _AT not in unit.unit]),
        rows_table("Heads, each over its placements", [_head_row(*each) for each in by_head.items()]),
    ]


def _row(unit: UnitComparison) -> dict[str, Any]:
    return {
        "unit": unit.unit,
        "A ms": f"{unit.before_ms:.3f}",
        "B ms": f"{unit.after_ms:.3f}",
        "B / A": f"{unit.ratio:.3f}",
        "95% interval": f"{unit.interval[0]:.3f} to {unit.interval[1]:.3f}",
        "B is": unit.change,
    }


def _head_row(head: str, units: Sequence[UnitComparison]) -> dict[str, Any]:
    ratios = [unit.ratio for unit in units]
    counts = Counter(unit.change for unit in units)
    return {
        "head": head,
        "A ms": f"{statistics.median([unit.before_ms for unit in units]):.3f}",
        "B ms": f"{statistics.median([unit.after_ms for unit in units]):.3f}",
        "B / A": f"{statistics.median(ratios):.3f}",
        "least to most": f"{min(ratios):.3f} to {max(ratios):.3f}",
        "B is": ", ".join(f"{count} {change}" for change, count in counts.most_common()),
    }
