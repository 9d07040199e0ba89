"""Reading the CSV tables that a user brings (DESIGN 4.3), with errors that name file, row and column."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from exitsearch.errors import FileError, InputError, shown
from exitsearch.specs.head import HeadChoice

# More digits than any number of placements or classes has; Python itself refuses to read thousands of them.
_MOST_DIGITS = 18


def csv_rows(text: str, path: Path | str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV text with their line numbers, cells stripped, rows without any text left out.

    Raises:
        FileError: where it is no CSV.
    """
    reader = csv.reader(io.StringIO(text), skipinitialspace=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise FileError(path, f"row {reader.line_num}: not valid CSV ({error})") from None


def is_header(cells: Sequence[str]) -> bool:
    """Whether a first row names columns: no cell of it is a number, or begins like one that was mistyped.

    >>> is_header(["placement", "value"]), is_header(["budget", "12"]), is_header(["12.x"])
    (True, False, False)
    """
    return not any(re.match(r"[+-]?\.?\d", cell) or is_number(cell) for cell in cells)


def is_number(text: str) -> bool:
    """Whether Python reads it as a number, infinite ones and NaN included."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def whole_number(text: str) -> int | None:
    """The whole number from 0 that a text holds, or None.

    >>> whole_number("12"), whole_number("-1"), whole_number("9" * 5000)
    (12, None, None)
    """
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None


def read_table(text: str, path: Path | str, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV table with their line numbers, blank ones left out.

    Raises:
        FileError: when a required column is missing or stands there twice, or a row has more cells than the header.
    """
    rows = csv_rows(text, path)
    _, header = next(rows, (0, []))
    missing = [column for column in columns if column not in header]
    if missing:
        needed, found = ",".join(columns), ",".join(header) or "no header"
        raise FileError(path, f"the column {missing[0]} is missing; needed: {needed}; found: {found}")
    if doubled := [column for column in columns if header.count(column) > 1]:
        raise FileError(path, f"the column {doubled[0]} stands there twice; found: {','.join(header)}")
    found_rows = []
    for line, cells in rows:
        if any(cells[len(header) :]):
            raise FileError(path, f"row {line}: more cells than the header has columns")
        padded = [*cells, *[""] * (len(header) - len(cells))]
        found_rows.append((line, {key: cell for key, cell in zip(header, padded, strict=False) if key}))
    return found_rows


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
        raise FileError(path, f"row {line}: {key} must be a finite number, found {shown(row[key])}")
    return number


def cell_placement(row: dict[str, str], path: Path | str, line: int) -> int:
    """The placement of a table's row: a whole number from 0."""
    placement = whole_number(row["placement"])
    if placement is None:
        raise FileError(path, f"row {line}: placement must be a whole number from 0, found {shown(row['placement'])}")
    return placement


def cell_head(row: dict[str, str], path: Path | str, line: int) -> str:
    """The head of a table's row in canonical form."""
    try:
        return str(HeadChoice.parse(row["head"]))
    except InputError as error:
        raise FileError(path, f"row {line}: {error}", remedy="") from None
