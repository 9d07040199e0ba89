"""A bundle made by hand, once for the room; who changes one writes its own."""

from __future__ import annotations

import pytest
from tiny_bundle import write_tiny_bundle

from exitsearch.runtime import load_bundle


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="session")
def loaded(tiny):
    return load_bundle(tiny.path)


@pytest.fixture
def fresh(tmp_path):
    """A bundle of one test alone."""
    return write_tiny_bundle(tmp_path / "bundle")
