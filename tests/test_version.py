"""The version: of the installed package, and none where nothing is installed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

import pytest

import exitsearch


@pytest.fixture(autouse=True)
def _not_remembered() -> Iterator[None]:
    vars(exitsearch).pop("__version__", None)
    yield
    vars(exitsearch).pop("__version__", None)


def test_it_is_that_of_the_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", {"exitsearch": "1.2.3"}.__getitem__)
    assert exitsearch.__version__ == "1.2.3"


def test_a_bare_checkout_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert exitsearch.__version__ == "0+unknown"
