"""The table of tests/README.md names tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent


def test_every_named_test_is_there() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (HERE / "README.md").read_text())
    assert len(named) > 30
    functions = {
        file: {node.name for node in ast.parse((HERE / file).read_text()).body if isinstance(node, ast.FunctionDef)}
        for file in {file for file, _ in named}
    }
    missing = [f"{file}::{name}" for file, name in named if name not in functions[file]]
    assert not missing


def test_every_point_has_a_row() -> None:
    rows = re.findall(r"^\| (\d+) \|.*`[\w/]+\.py::\w+`", (HERE / "README.md").read_text(), re.MULTILINE)
    assert rows == [str(number) for number in range(1, len(rows) + 1)]
