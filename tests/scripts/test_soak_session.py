"""A second of soaking, and that a lost answer, a wrong one and growing memory are seen."""

from __future__ import annotations

import soak_session
from tiny_bundle import write_tiny_bundle

from exitsearch.runtime import load_bundle


def test_smallest(call):
    called = call("soak_session", "--seconds", "2", "--workers", "8", "--most-growth-mb", "200")
    assert called.status == 0, called.out
    found = called.figures
    assert found["passed"]
    assert found["lost"] == 0
    assert found["wrong"] == []
    assert found["asked"] == found["answered"] > 8
    assert set(found["exits"]) == {"0", "1", "2"}
    assert "0 lost, 0 wrong" in called.out


def test_wrong_answers_are_seen(tmp_path):
    """The session's second segment is another one from the twentieth run on."""
    session = load_bundle(write_tiny_bundle(tmp_path / "b").path)
    original, calls = session._units.segment, []

    def altered(position, state, stop):
        calls.append(position)
        found = original(position, state, stop)
        return {name: array + (len(calls) > 100) for name, array in found.items()}

    session._units.segment = altered
    found = soak_session.soak(session, workers=2, seconds=0.5, seed=0)
    assert found["wrong"]


def test_a_thread_that_dies_is_seen(tmp_path):
    session = load_bundle(write_tiny_bundle(tmp_path / "b").path)
    original, calls = session.predict_batch, []

    def altered(*arguments, **options):
        calls.append(1)
        return original(*arguments, **options) if len(calls) < 3 else [][0]

    session.predict_batch = altered
    found = soak_session.soak(session, workers=2, seconds=0.5, seed=0)
    assert any("IndexError" in what for what in found["wrong"])


def test_memory_that_grows_is_seen(tmp_path):
    """Something keeps a megabyte of every batch."""
    session = load_bundle(write_tiny_bundle(tmp_path / "b").path)
    original, kept = session.predict, []

    def altered(*arguments, **options):
        kept.append(b"\1" * 100_000)
        return original(*arguments, **options)

    session.predict = altered
    found = soak_session.soak(session, workers=2, seconds=1.0, seed=0)
    assert found["growth_mb"] > 1
