"""One thread for every test: two busy threads on two shared cores make everything slow and nothing truer."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


@pytest.fixture
def remembered_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch export each graph of tests/deploy/export_models.py once in all tests."""
    from export_models import remembered_graph

    from exitsearch.deploy import export

    monkeypatch.setattr(export, "graph_of", remembered_graph)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """From a family of tests/deploy/export_models.py and a precision to a model and its bundle, exported once."""
    from export_models import exported_bundle

    @functools.cache
    def of(family: str, precision: str = "fp32") -> Any:
        folder = tmp_path_factory.mktemp(f"{family}-{precision}") / "bundle"
        return exported_bundle(family, precision, folder)

    return of
