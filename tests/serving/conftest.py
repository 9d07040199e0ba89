"""A bundle made by hand behind a server, with clocks and units that are told how long things take."""

from __future__ import annotations

import pytest
from serving_images import encoded
from tiny_bundle import write_tiny_bundle

from exitsearch.runtime import load_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """The folder of a bundle of three exits: 1.2 + 0.2, 2.4 + 0.2 and 3.6 ms by p99."""
    return write_tiny_bundle(tmp_path_factory.mktemp("serving") / "tiny").path


@pytest.fixture(scope="session")
def session(bundle):
    return load_bundle(bundle)


@pytest.fixture(scope="session")
def jpeg():
    """A photograph's bytes."""
    return encoded("JPEG")
