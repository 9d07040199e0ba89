"""Looks at a machine that refuses: how often, and that a refusal never waits for one."""

from __future__ import annotations

from timed_units import FakeClock

from exitsearch.runtime import RunError
from exitsearch.runtime.lookout import Lookout


class AtOnce:
    """Runs what it is given when it is told to."""

    def __init__(self):
        self.jobs = []

    def run(self, job):
        self.jobs.append(job)

    def work(self):
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            job()


def looking(look=lambda: None):
    clock, threads, looks = FakeClock(), AtOnce(), []

    def watched():
        looks.append(clock())
        look()

    return Lookout(watched, threads=threads, clock=clock), clock, threads, looks


def test_a_refusal_looks_and_does_not_wait():
    lookout, _, threads, looks = looking()
    lookout.refused()
    assert (len(threads.jobs), looks) == (1, [])
    threads.work()
    assert len(looks) == 1


def test_only_one_look_at_a_time_and_ten_a_second():
    lookout, clock, threads, looks = looking()
    for _ in range(1000):
        lookout.refused()
    threads.work()
    for _ in range(100):
        clock.now += 0.01
        lookout.refused()
        threads.work()
    assert 10 <= len(looks) <= 11


def test_a_look_that_takes_long_is_had_a_twentieth_of_the_time():
    lookout, clock, threads, looks = looking()

    def slow():
        clock.now += 0.05

    lookout._look = lambda: (looks.append(clock()), slow())
    while clock.now < 20:
        lookout.refused()
        threads.work()
        clock.now += 0.01
    assert 0.04 <= len(looks) * 0.05 / 20 <= 0.05


def test_a_look_that_fails_is_passed_over_and_tried_again():
    lookout, clock, threads, looks = looking(lambda: 1 / 0)
    lookout.refused()
    threads.work()
    clock.now += 1.0
    lookout.refused()
    threads.work()
    assert len(looks) == 2


def test_without_a_thread_the_refusal_is_answered_all_the_same():
    lookout, clock, threads, looks = looking()

    def none(job):
        raise RunError("no thread")

    run, threads.run = threads.run, none
    lookout.refused()
    threads.run = run
    clock.now += 1.0
    lookout.refused()
    threads.work()
    assert len(looks) == 1
