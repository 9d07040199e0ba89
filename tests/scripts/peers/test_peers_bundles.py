"""A bundle made by hand, asked as its peers are."""

from __future__ import annotations

import numpy as np
import pytest
from peers.bundles import Deadline, Interrupted
from tiny_bundle import write_tiny_bundle

from exitsearch.runtime import load_bundle


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    tiny = write_tiny_bundle(tmp_path_factory.mktemp("peers") / "tiny")
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    return tiny, load_bundle(tiny.path), [x]


def test_a_known_budget(made):
    """The table says that its exits answer at 1.1, 2.1 and 3 ms, and later at p99; the final one is the best."""
    tiny, session, inputs = made
    peer = Deadline(session.replanned(), inputs, megabytes=1.5)
    assert peer.megabytes == 1.5
    reply = peer.ask(0, 1e5)
    assert reply.exit == 2
    assert not reply.refused
    assert reply.budget_ms is None
    assert reply.time_ms > 0
    assert np.allclose(reply.outputs, tiny.outputs(inputs[0], 2)[0], atol=1e-5)
    refused = peer.ask(0, 1.0)
    assert refused.refused
    assert refused.outputs is None


def test_a_budget_that_is_not_known_is_that_at_which_it_struck(made):
    tiny, session, inputs = made
    reply = Interrupted(session.replanned(), inputs, megabytes=1.5).ask(0, 2000.0)
    assert reply.exit == 2  # all was finished long before
    assert reply.budget_ms >= 2000.0
    assert reply.time_ms < reply.budget_ms
    assert np.allclose(reply.outputs, tiny.outputs(inputs[0], 2)[0], atol=1e-5)


def test_interrupted_before_anything_was_finished(made):
    """The budget is then the moment at which it was interrupted, and an answer that was taken was in time."""
    _, session, inputs = made
    peer = Interrupted(session.replanned(), inputs, megabytes=1.5)
    for _ in range(5):
        reply = peer.ask(0, 1e-6)
        assert reply.budget_ms > 1e-6
        assert not reply.refused
        assert reply.time_ms <= reply.budget_ms or reply.outputs is None
