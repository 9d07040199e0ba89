"""The front: choices that no other beats in all objectives."""

from __future__ import annotations

from exitsearch.report.html.charts.chart import Figure, Line, Lines
from exitsearch.report.html.page import Column, Section, Table
from exitsearch.report.html.search.over_budget import exits_words
from exitsearch.report.html.search.searched import Searched
from exitsearch.report.terminal.front import FOLDER, file_name, front_lines
from exitsearch.search.front.aims import UNITS
from exitsearch.search.result import FrontResult, FrontRow
from exitsearch.specs.question.request import Objective


def front(searched: Searched) -> list[Section]:
    """A figure an objective beside the value, and all points; nothing where no objectives were given."""
    found = searched.result.front
    if found is None:
        return []
    others = [name for name in found.names if name != "value"]
    return [
        Section(
            key="front",
            title="The front",
            text=front_lines(found),
            figures=[_figure(found, name) for name in others],
            tables=[_table(found)],
        )
    ]


def _titled(name: Objective) -> str:
    return f"{name} ({UNITS[name]})" if UNITS[name] else name


def _pairs(row: FrontRow) -> tuple[tuple[int, str], ...]:
    return tuple((exit_.placement, str(exit_.choice)) for exit_ in row.config.exits)


def _figure(found: FrontResult, other: Objective) -> Figure:
    rows = sorted(found.rows, key=lambda row: row.amounts[other])
    lines = []
    for name, proved in (("proved", True), ("not proved", False)):
        some = [row for row in rows if row.proved is proved]
        if not some:
            continue
        lines.append(
            Line(
                name,
                [row.amounts[other] for row in some],
                [row.amounts["value"] for row in some],
                "choice" if proved else "first",
                join="none",
                mark="circle" if proved else "triangle",
                words=[f"at {_titled(other)} {row.amounts[other]:.6g}\n{exits_words(_pairs(row))}" for row in some],
            )
        )
    if len(found.names) == 2:
        heights = [row.amounts["value"] for row in rows]
        lines.append(Line("the front", [row.amounts[other] for row in rows], heights, "muted", join="step", width=1.2))
    first, last = rows[0], rows[-1]
    return Figure(
        key=f"front_{other}",
        title=f"Expected value over {_titled(other)}",
        reading="Every point is a file of its own; proved: no choice that costs no more is worth more.",
        told=f"From {first.amounts['value']:.4f} at {other} {first.amounts[other]:.6g} to "
        f"{last.amounts['value']:.4f} at {last.amounts[other]:.6g}.",
        drawn=Lines(across=_titled(other), up="expected value", lines=lines, together=False),
    )


def _table(found: FrontResult) -> Table:
    held_out = any(row.held_out is not None for row in found.rows)
    return Table(
        title="The front",
        columns=[
            Column("file"),
            *(Column(_titled(name), ".4f" if name == "value" else ".6g") for name in found.names),
            *([Column("held out", ".4f")] if held_out else []),
            Column("proved"),
            Column("exits"),
        ],
        rows=[
            [
                f"{FOLDER}/{file_name(number)}",
                *(row.amounts[name] for name in found.names),
                *([row.held_out] if held_out else []),
                "yes" if row.proved else "no",
                exits_words(_pairs(row)),
            ]
            for number, row in enumerate(found.rows, start=1)
        ],
        marked=[0],
        folded=len(found.rows) > 20,
    )
