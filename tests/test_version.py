"""The version: of the installed package, and none where nothing is installed."""

from __future__ import annotations

from importlib import metadata

import pytest

import exitsearch


def test_it_is_that_of_the_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(vars(exitsearch), "__version__", raising=False)
    monkeypatch.setattr(metadata, "version", {"exitsearch": "1.2.3"}.__getitem__)
    assert exitsearch.__version__ == "1.2.3"
    monkeypatch.delitem(vars(exitsearch), "__version__")


def test_a_bare_checkout_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.delitem(vars(exitsearch), "__version__", raising=False)
    monkeypatch.setattr(metadata, "version", missing)
    assert exitsearch.__version__ == "0+unknown"
    monkeypatch.delitem(vars(exitsearch), "__version__")
