"""CSV as people and spreadsheets write it: byte-order marks, missing headers, mistyped numbers, cells without end."""

from __future__ import annotations

from pathlib import Path

import pytest

from exitsearch.errors import FileError, InputError
from exitsearch.search.utility import load_class_weights
from exitsearch.specs import Outcomes, Profile
from exitsearch.specs.budget import parse_budget
from exitsearch.specs.load import load_space
from exitsearch.specs.placement import select_placements
from exitsearch.specs.question.limits import parse_exit
from exitsearch.specs.table import is_header, read_table

MARK = "\ufeff"
COSTS = "part,placement,head,latency_ms\nsegment,0,,10\nhead,0,linear,1\nfinal,,,10\n"
VALUES = "placement,head,value\n0,linear,0.6\nfinal,,0.9\n"


def written(tmp_path: Path, text: str, name: str = "table.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def test_a_byte_order_mark_changes_nothing(tmp_path: Path) -> None:
    for mark in ("", MARK):
        assert Profile.from_costs_csv(written(tmp_path, mark + COSTS)).full_ms == 20
        assert Outcomes.from_values_csv(written(tmp_path, mark + VALUES)).values() == {(0, "linear"): 0.6}
        assert load_class_weights(written(tmp_path, mark + "label,weight\n0,1\n")).name == "class weights table.csv"
        assert load_space(written(tmp_path, mark + "schema_version = 1\n", "space.toml")).placements is None
        # A third of the budgets is 10: with the first one lost it would be half.
        trace = parse_budget(f"trace:{written(tmp_path, mark + '10' + chr(10) + '20' + chr(10) + '30')}")
        assert trace.survival([10.0, 10.5, 30.0]).tolist() == pytest.approx([1, 2 / 3, 1 / 3])


@pytest.mark.parametrize("first", ["12.x", "-", "1O", "4,x", "5 ms", "+7e", ".5.", "nan", "1e999"])
def test_a_mistyped_first_budget_is_no_header(tmp_path: Path, first: str) -> None:
    path = written(tmp_path, f"{first}\n20\n30\n")
    if first == "-":
        assert parse_budget(f"trace:{path}").support() == (20, 30)  # a name as good as any
        return
    with pytest.raises(FileError, match=r"row 1: a budget is a number|several columns"):
        parse_budget(f"trace:{path}")


def test_headers(tmp_path: Path) -> None:
    assert is_header(["budget ms"])
    assert not is_header(["budget", "7"])
    path = written(tmp_path, "1,2\n30,40\n")
    with pytest.raises(FileError, match=r"several columns; name one .* its first row must name the columns"):
        parse_budget(f"trace:{path}")
    assert parse_budget(f"trace:{written(tmp_path, 'when,budget' + chr(10) + '1,5')}:budget").support() == (5, 5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1," + "9" * 131_073, "row 2: not valid CSV"),
        ("a,b\n1,2,3\n", "row 2: more cells than the header has columns"),
        ("a,b,a\n1,2,3\n", "the column a stands there twice"),
        ("", "the column a is missing; needed: a,b; found: no header"),
        ("1,2\n", "found: 1,2"),
    ],
    ids=["long cell", "cells", "twice", "empty", "none"],
)
def test_tables_that_are_none(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(FileError) as caught:
        read_table(text, "table.csv", ("a", "b"))
    assert words in str(caught.value)


def test_rows_are_padded_and_numbered() -> None:
    assert read_table("a, b,\n\n1\n , \n3, 4 ,\n", "x", ("a", "b")) == [
        (3, {"a": "1", "b": ""}),
        (5, {"a": "3", "b": "4"}),
    ]


def test_numbers_of_thousands_of_digits_are_refused_in_few_words(tmp_path: Path) -> None:
    nines = "9" * 5000
    with pytest.raises(FileError, match="row 2: placement must be a whole number") as caught:
        Outcomes.from_values_csv(written(tmp_path, VALUES.replace("0,linear", f"{nines},linear")))
    assert len(str(caught.value)) < 250
    for read in (parse_exit, lambda text: select_placements(text, 12), lambda text: select_placements(f"0-{text}", 12)):
        with pytest.raises(InputError) as said:
            read(nines)
        assert len(str(said.value)) < 250
