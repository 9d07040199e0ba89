"""Reading the CSV tables that a user brings (DESIGN 4.3), with errors that name file, row and column."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from exitsearch.errors import FileError, InputError
from exitsearch.specs.head import HeadChoice


def read_table(text: str, path: Path | str, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV table with their line numbers, blank ones left out.

    Raises:
        FileError: when a required column is missing or a row has more cells than the header.
    """
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True, restkey="")
    header = [(name or "").strip() for name in reader.fieldnames or []]
    reader.fieldnames = header
    missing = [column for column in columns if column not in header]
    if missing:
        needed, found = ",".join(columns), ",".join(header) or "no header"
        raise FileError(path, f"the column {missing[0]} is missing; needed: {needed}; found: {found}")
    rows = []
    for row in reader:
        if row.get(""):
            raise FileError(path, f"row {reader.line_num}: more cells than the header has columns")
        cells = {key: (value or "").strip() for key, value in row.items() if key}
        if any(cells.values()):
            rows.append((reader.line_num, cells))
    return rows


def cell_number(row: dict[str, str], key: str, path: Path | str, line: int) -> float:
    """A finite number of a table's row.

    Raises:
        FileError: naming row, column and what was found.
    """
    try:
        number = float(row[key])
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise FileError(path, f"row {line}: {key} must be a finite number, found {row[key]!r}")
    return number


def cell_placement(row: dict[str, str], path: Path | str, line: int) -> int:
    """The placement of a table's row: a whole number from 0."""
    if not row["placement"].isdecimal():
        raise FileError(path, f"row {line}: placement must be a whole number from 0, found {row['placement']!r}")
    return int(row["placement"])


def cell_head(row: dict[str, str], path: Path | str, line: int) -> str:
    """The head of a table's row in canonical form."""
    try:
        return str(HeadChoice.parse(row["head"]))
    except InputError as error:
        raise FileError(path, f"row {line}: {error}") from None
