"""How the page is written: tables of Markdown, numbers, and names in a row."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

Figures = dict[str, Any]


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A table of Markdown, with an empty line before and after."""
    lines = [_row(columns), "|" + "---|" * len(columns), *(_row(row) for row in rows)]
    return ["", *lines, ""]


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def paragraph(*sentences: str) -> list[str]:
    """Sentences as lines of at most 120 characters."""
    return textwrap.wrap(" ".join(sentences), 120, break_long_words=False, break_on_hyphens=False)


def names(items: Iterable[str], *, code: bool = True) -> str:
    """Names as a sentence has them: `a`, `b` and `c`; `none` where there are none."""
    shown = [f"`{item}`" if code else item for item in items]
    if len(shown) < 2:
        return shown[0] if shown else "none"
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: `1 exit`, `3 exits`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def signed(share: float, digits: int = 2) -> str:
    """A share as a signed percentage: -0.46%. What rounds to nothing has no sign."""
    text = f"{100 * share:+.{digits}f}%"
    return text[1:] if not float(text[:-1]) else text


def ranges(numbers: Sequence[int]) -> str:
    """Numbers in ascending order with runs drawn together.

    >>> ranges([0, 1, 2, 5, 7, 8])
    '0-2, 5, 7-8'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def differs(found: object, expected: object, *, tolerance: float = 1e-9, where: str = "figures") -> list[str]:
    """Where two sets of figures differ: numbers by more than a share of themselves, everything else at all."""
    if isinstance(found, dict) and isinstance(expected, dict):
        lines = [f"{where}: has {sorted(found.keys() ^ expected.keys())}"] if found.keys() != expected.keys() else []
        for key in found.keys() & expected.keys():
            lines += differs(found[key], expected[key], tolerance=tolerance, where=f"{where}.{key}")
        return lines
    if isinstance(found, list | tuple) and isinstance(expected, list | tuple):
        if len(found) != len(expected):
            return [f"{where}: {len(found)} entries, expected {len(expected)}"]
        pairs = enumerate(zip(found, expected, strict=True))
        return [line for i, (a, b) in pairs for line in differs(a, b, tolerance=tolerance, where=f"{where}[{i}]")]
    if isinstance(found, float) and isinstance(expected, float | int):
        same = abs(found - expected) <= tolerance * max(1.0, abs(expected))
    else:
        same = found == expected
    return [] if same else [f"{where}: {found!r}, expected {expected!r}"]
