"""The front of several objectives, as a table and sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import RenderableType

from exitsearch.report.terminal.layout import rows_table
from exitsearch.search.front.aims import UNITS
from exitsearch.search.result import FrontResult
from exitsearch.specs.config import MultiExitConfig

FOLDER = "front"
# Points on the terminal; the HTML report and the folder hold all.
_SHOWN = 16


def front_rows(front: FrontResult) -> list[dict[str, Any]]:
    """One row a point, from the highest value to the lowest."""
    rows = []
    for number, point in enumerate(front.rows, start=1):
        row: dict[str, Any] = {"file": f"{FOLDER}/{file_name(number)}"}
        for name in front.names:
            title = f"{name} ({UNITS[name]})" if UNITS[name] else name
            row[title] = f"{point.amounts[name]:.4f}" if name == "value" else f"{point.amounts[name]:.6g}"
        if point.held_out is not None:
            row["held out"] = f"{point.held_out:.4f}"
        row["proved"] = "yes" if point.proved else "no"
        row["exits"] = _exits(point.config)
        rows.append(row)
    return rows


def front_lines(front: FrontResult) -> list[str]:
    """The findings in sentences."""
    proved = sum(point.proved for point in front.rows)
    found = [
        f"{len(front.rows)} points that nothing found beats in all of {', '.join(front.names)}; {proved} are proved: "
        "no choice that costs no more is worth more." + (" There are no others." if front.complete else "")
    ]
    if front.study is not None:
        found.append(f"Optuna: {front.study.trials} trials in study {front.study.name}.")
    return found


def front_table(front: FrontResult | None) -> list[RenderableType]:
    """For the terminal; empty without a front."""
    if front is None:
        return []
    rows = front_rows(front)
    shown = [rows[index] for index in np.unique(np.linspace(0, len(rows) - 1, _SHOWN).round().astype(int))]
    title = f"The front ({len(shown)} of {len(rows)} points, each a file)"
    return [rows_table(title, shown), *front_lines(front)]


def front_summary(front: FrontResult) -> dict[str, Any]:
    """Everything for `--json`."""
    return {
        "objectives": list(front.names),
        "complete": front.complete,
        "points": [
            {
                "file": f"{FOLDER}/{file_name(number)}",
                **point.amounts,
                "held_out": point.held_out,
                "proved": point.proved,
                "exits": [[exit_.placement, str(exit_.choice)] for exit_ in point.config.exits],
            }
            for number, point in enumerate(front.rows, start=1)
        ],
        "study": None if front.study is None else {"name": front.study.name, "trials": front.study.trials},
    }


def write_front(front: FrontResult, folder: Path) -> Path:
    """Write one configuration a point, `01.json` the one of the highest value; those of an earlier front go.

    Args:
        folder: in which the folder `front` stands.
    """
    place = folder / FOLDER
    for number, point in enumerate(front.rows, start=1):
        point.config.write(place / file_name(number))
    remove_front(folder, but=len(front.rows))
    return place


def remove_front(folder: Path, *, but: int = 0) -> None:
    """Remove the points of an earlier front; other files stay.

    Args:
        folder: in which the folder `front` stands, if there was a front.
        but: how many points of a new one stay.
    """
    names = {file_name(number) for number in range(1, but + 1)}
    for old in (folder / FOLDER).glob("[0-9][0-9]*.json"):
        if old.stem.isdecimal() and old.name not in names:
            old.unlink()


def file_name(number: int) -> str:
    """Name of the file of a point, the highest value being number 1."""
    return f"{number:02d}.json"


def _exits(config: MultiExitConfig) -> str:
    return "  ".join(f"{exit_.placement}:{exit_.choice}" for exit_ in config.exits) or "none"
