"""Profiles with and without load at the smallest size, and how they are judged."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import check_contention
import pytest

from exitsearch.measure.machine.load import usable_cores


def test_smallest(call):
    """What the verdicts say is the machine's matter in so short a time; that they are judged right is ours."""
    called = call("check_contention", "--threads", "1", "--max-seconds", "0.5")
    loaded, quiet = called.figures["runs"]
    assert called.figures["cores"] == loaded["busy_loops"] == usable_cores()
    assert quiet["busy_loops"] == 0
    for run in (loaded, quiet):
        assert run["threads"] == run["environment"]["threads"] == 1
        assert 0 < run["plain_backbone_ms"] < 60_000
        assert run["names_contention"] == any(reason["what"].startswith("contention") for reason in run["reasons"])
    assert loaded["as_it_must_be"] == (loaded["names_contention"] and loaded["status"] != "ok")
    assert quiet["as_it_must_be"] == (not quiet["names_contention"])
    assert called.figures["passed"] == (loaded["as_it_must_be"] and quiet["as_it_must_be"])
    assert called.status == (not called.figures["passed"])
    assert f"1 thread, {usable_cores()} busy loops: {loaded['status']}, " in called.out
    assert f"1 thread, no load: {quiet['status']}, " in called.out


def test_loops_run_inside_and_none_outside(monkeypatch):
    started = []

    class Kept(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(check_contention.subprocess, "Popen", Kept)
    with check_contention.busy_cores(2):
        assert [loop.poll() for loop in started] == [None, None]
    assert [loop.poll() is None for loop in started] == [False, False]


@pytest.mark.parametrize(
    ("loops", "status", "reason", "right"),
    [
        (2, "unstable", "contention: other work", True),
        (2, "ok", "contention: other work", False),
        (2, "unstable", "drift", False),
        (0, "ok", None, True),
        (0, "unstable", "drift", True),
        (0, "unstable", "contention: other work", False),
    ],
)
def test_how_verdicts_are_judged(monkeypatch, loops, status, reason, right):
    profile = SimpleNamespace(
        verdict=SimpleNamespace(status=status, reasons=[SimpleNamespace(what=reason, number=1.0)] if reason else []),
        whole=SimpleNamespace(latency_ms=1.0),
        environment=SimpleNamespace(identity={}, state={}),
        created="",
        condition=lambda: "",
    )
    monkeypatch.setattr(check_contention, "profile_backbone", lambda *_, **__: profile)
    options = SimpleNamespace(heads="linear", precision=0.02, max_seconds=1.0, seed=0)
    assert check_contention.measured(None, options, 1, loops=loops)["as_it_must_be"] is right
