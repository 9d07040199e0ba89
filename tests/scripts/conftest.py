"""Calls a script as a user would, and looks at the form of what it writes."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest

FACTS = ("date", "options", "machine", "versions")


@dataclass(frozen=True)
class Called:
    """What came of a call.

    Attributes:
        status: exit status.
        out: what it printed.
        figures: its own keys of the file of `--json`.
        document: all of that file.
    """

    status: int
    out: str
    figures: dict[str, Any]
    document: dict[str, Any]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    """Call the main function of a script with `--json`; the file must have the form that all have."""

    def run(script: str, *argv: str | Path) -> Called:
        target = tmp_path / "figures.json"
        status = importlib.import_module(script).main([*map(str, argv), "--json", str(target)])
        document = json.loads(target.read_text())
        assert document["schema_version"] >= 1
        assert document["versions"]["torch"]
        assert document["machine"]["cores"] >= 1
        assert "json" not in document["options"]
        figures = {key: value for key, value in document.items() if key not in ("schema_version", *FACTS)}
        return Called(status, capsys.readouterr().out, figures, document)

    return run


@pytest.fixture(autouse=True)
def _optuna_speaks_as_before():
    """Scripts make Optuna quiet, which is for the whole process."""
    before = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(before)
