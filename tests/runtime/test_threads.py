"""Threads that are used again. Nothing is timed."""

from __future__ import annotations

import threading

import pytest

from exitsearch.runtime import RunError, threads
from exitsearch.runtime.threads import Threads


def run_and_wait(pool):
    """The name of the thread that ran something."""
    done, found = threading.Event(), []

    def job():
        found.append(threading.get_ident())
        done.set()

    pool.run(job)
    assert done.wait(30)
    return found[0]


def wait_until_idle(pool, count):
    for _ in range(3000):
        if len(pool._idle) == count:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{len(pool._idle)} threads are idle, not {count}")


def test_a_thread_that_is_done_is_used_again():
    pool = Threads()
    first = run_and_wait(pool)
    wait_until_idle(pool, 1)
    assert run_and_wait(pool) == first


def test_what_runs_at_once_has_threads_of_its_own():
    pool, together = Threads(), threading.Barrier(3)
    for _ in range(2):
        pool.run(lambda: together.wait(30))
    together.wait(30)  # three at once, or nobody passes
    wait_until_idle(pool, 2)


def test_only_so_many_are_kept(monkeypatch):
    monkeypatch.setattr(threads, "_MOST_IDLE", 1)
    pool, together = Threads(), threading.Barrier(4)
    for _ in range(3):
        pool.run(lambda: together.wait(30))
    together.wait(30)
    wait_until_idle(pool, 1)
    run_and_wait(pool)
    wait_until_idle(pool, 1)


def test_they_do_not_keep_the_process(monkeypatch):
    seen = []
    start = threading.Thread.start

    def watched(self):
        seen.append(self.daemon)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", watched)
    run_and_wait(Threads())
    assert seen == [True]


def test_where_no_thread_can_be_had_it_is_said(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RunError, match="no thread can be started for a request"):
        Threads().run(lambda: None)
