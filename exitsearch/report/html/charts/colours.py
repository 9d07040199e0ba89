"""Colours by what they stand for, on light and on dark ground.

Okabe and Ito's palette ("Color Universal Design", 2008), whose colours are told apart with every common kind of colour
blindness; on dark ground its lighter neighbours. Scales of heat maps are Cividis (Nunez, Anderton and Renslow 2018),
which is read alike with and without colour blindness, and between two of the palette's colours where numbers lie on two
sides of something.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exitsearch.report.html.charts.chart import Grid, Role

LIGHT: dict[Role, str] = {
    "choice": "#0072b2",
    "first": "#b35900",
    "second": "#007a5a",
    "third": "#a34b82",
    "fourth": "#6b5b00",
    "bound": "#555f6b",
    "muted": "#8a94a0",
    "good": "#007a5a",
    "bad": "#b03a00",
}
DARK: dict[Role, str] = {
    "choice": "#56b4e9",
    "first": "#f0a63c",
    "second": "#2fc79a",
    "third": "#e08fc0",
    "fourth": "#d9cb4e",
    "bound": "#a7b1bd",
    "muted": "#7d8894",
    "good": "#2fc79a",
    "bad": "#ff8c5a",
}
# One scale, from low to high.
SCALE = ("#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#fee838")
# By what share of the farthest number others may lie on the other side before that side gets colours of its own.
_NEARLY = 0.02
# From far below through the turn to far above, on light and on dark ground.
TURNING_LIGHT = ("#b35900", "#e8b98a", "#f4f5f7", "#8fbfdf", "#0072b2")
TURNING_DARK = ("#f0a63c", "#8a5a1c", "#20262e", "#2a6388", "#56b4e9")


@dataclass(frozen=True)
class Turning:
    """The part of the turning scale that a heat map needs.

    Attributes:
        low, high: numbers at its ends.
        colours: which of the scale's colours, in order.
    """

    low: float
    high: float
    colours: Sequence[int]


def shown_turning(grid: Grid) -> Turning | None:
    """Which part of the turning scale a heat map needs; None where its numbers lie on one scale.

    Numbers as far above the turn as others are below it are as strong in colour. Where all lie on one side, or hardly
    beyond it, that side's half is shown alone.
    """
    if grid.around is None:
        return None
    numbers = [n for row in grid.numbers for n in row if n is not None]
    far = max((abs(n - grid.around) for n in numbers), default=0.0) or 1.0
    middle, last = len(TURNING_LIGHT) // 2, len(TURNING_LIGHT)
    if min(numbers, default=0.0) >= grid.around - _NEARLY * far:
        return Turning(grid.around, grid.around + far, range(middle, last))
    if max(numbers, default=0.0) <= grid.around + _NEARLY * far:
        return Turning(grid.around - far, grid.around, range(middle + 1))
    return Turning(grid.around - far, grid.around + far, range(last))
