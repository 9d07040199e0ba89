"""The overhead of a trial at its smallest size, and that both sides take turns."""

from __future__ import annotations

import threading

import bench_overhead
import pytest


def test_smallest(call):
    called = call("bench_overhead", "--trials", "4", "--storages", "memory,journal")
    runs = called.figures["runs"]
    assert called.figures["trials"] == 4
    assert [(run["storage"], run["policy"]) for run in runs] == [
        (storage, policy) for storage in ("memory", "journal") for policy in ("interruptible", "contract")
    ]
    for run in runs:
        assert 0 < run["ours_ms"] < 60_000
        assert 0 < run["optuna_ms"] < 60_000
        assert run["overhead"] > -1
        assert run["overhead_of_medians"] == pytest.approx(run["ours_ms"] / run["optuna_ms"] - 1)
    assert called.status == any(run["overhead_of_medians"] >= 0.5 for run in runs)
    heading, *rows = called.out.splitlines()
    assert heading.split() == ["storage", "policy", "ours", "ms", "Optuna", "ms", "overhead", "of", "medians"]
    assert [row.split()[:3] for row in rows] == [[r["storage"], r["policy"], f"{r['ours_ms']:.2f}"] for r in runs]


def test_an_unknown_storage_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        bench_overhead.main(["--storages", "memory,tape"])
    assert "some of memory, journal, sqlite; found 'memory,tape'" in capsys.readouterr().err


def test_one_trial_is_too_few(capsys):
    assert bench_overhead.main(["--trials", "1"]) == 2
    assert capsys.readouterr().err.startswith("bench_overhead: --trials must be 2 or more")


def test_turns_alternate_until_one_ends():
    """Two steps of the first and four of the second: 0 1 0 1, then the second goes on alone."""
    turns, order = bench_overhead.Turns(), []

    def work(who, steps):
        turns.begin(who)
        for _ in range(steps):
            order.append(who)
            turns.step(who)
        turns.end(who)

    threads = [threading.Thread(target=work, args=(who, steps)) for who, steps in enumerate((2, 4))]
    for thread in threads:
        thread.start()
    turns.start()
    for thread in threads:
        thread.join(timeout=10)
    assert order == [0, 1, 0, 1, 1, 1]
    assert [len(seconds) for seconds in turns.seconds] == [2, 4]
