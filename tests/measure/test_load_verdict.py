from __future__ import annotations

import os

import pytest
from fake_units import samples_of

from exitsearch.measure.machine.gpu_watch import GpuUse
from exitsearch.measure.machine.load import Load, Snapshot, busy_neighbours, usable_cores
from exitsearch.measure.machine.nvml import GpuReading
from exitsearch.measure.verdict import judge

QUIET = Load(10.0, 1.0, 0.0, 2.0, 0.1, 0.0, cores=2)
STEADY = [6.0] * 20


def load(**changes):
    return Load(**{**vars(QUIET), **changes})


def test_load_by_hand():
    """In 10 s we ran 8 s, waited 1 s, were stopped 50 times; the machine ran 13 s, so others 5; 0.2 s were stolen."""
    before = Snapshot(100.0, 1.0, queued_s={"7": 0.25, "8": 0.25}, involuntary=10, busy_s=1000.0, stolen_s=3.0)
    after = Snapshot(110.0, 9.0, queued_s={"7": 0.5, "8": 1.0}, involuntary=60, busy_s=1013.0, stolen_s=3.2)
    found = Load.between(before, after, cores=2, load_average=1.5)
    assert found.cpu_share == pytest.approx(0.8)
    assert found.queued_share == pytest.approx(0.1)
    assert found.switches_per_s == pytest.approx(5)
    assert found.others_cores == pytest.approx(0.5)
    assert found.stolen_share == pytest.approx(0.02)
    assert found.facts()["load_average"] == 1.5


def test_rests_are_no_time_that_it_wanted_to_run_in():
    """The same 10 s, 2 of which were rest: of the other 8 it ran all; what others did is still over all 10."""
    before = Snapshot(100.0, 1.0, queued_s={"7": 0.5}, involuntary=10, busy_s=1000.0, stolen_s=3.0)
    after = Snapshot(110.0, 9.0, queued_s={"7": 1.3}, involuntary=50, busy_s=1013.0, stolen_s=3.2)
    found = Load.between(before, after, cores=2, rested_s=2.0)
    assert found.cpu_share == pytest.approx(1.0)
    assert found.queued_share == pytest.approx(0.1)
    assert found.switches_per_s == pytest.approx(5)
    assert found.others_cores == pytest.approx(0.5)
    assert found.stolen_share == pytest.approx(0.02)
    assert found.wall_s == 10


@pytest.mark.parametrize(("busy_s", "expected"), [(0.2, 0), (0.3, 1), (0.7, 1), (0.8, 2), (None, 0)])
def test_neighbours_by_hand(monkeypatch, busy_s, expected):
    """In half a second others ran so long: a core counts from half of that time on."""
    counters = iter([Snapshot(0.0, 0.0, busy_s=5.0), Snapshot(0.5, 0.0, busy_s=busy_s and 5.0 + busy_s)])
    monkeypatch.setattr("exitsearch.measure.machine.load.Snapshot.take", lambda: next(counters))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert busy_neighbours() == expected


def test_unknown_counters_stay_unknown():
    found = Load.between(Snapshot(0.0, 0.0), Snapshot(1.0, 1.0), cores=4)
    assert found.queued_share is None
    assert found.others_cores is None
    assert found.facts()["stolen_share"] is None


def test_threads_that_end_take_nothing_along():
    """Thread 8 waited 5 s and is gone, thread 9 is new: what 7 and 9 waited since is 0.5 + 0.25 s in 10."""
    before = Snapshot(0.0, 0.0, queued_s={"7": 1.0, "8": 5.0})
    after = Snapshot(10.0, 1.0, queued_s={"7": 1.5, "9": 0.25})
    assert Load.between(before, after, cores=2).queued_share == pytest.approx(0.075)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not tell which cores are ours")
def test_snapshot_reads_proc(tmp_path):
    """A line a core in ticks: busy is user + nice + system + irq + softirq; waits are in nanoseconds.

    What other cores do, those that this process may not use, is left out.
    """
    mine = min(os.sched_getaffinity(0))
    others = max(os.sched_getaffinity(0)) + 1
    (tmp_path / "stat").write_text(
        f"cpu  900 20 30 9999 88 5 5 90 0 0\ncpu{mine} 100 20 30 9999 88 5 5 40 0 0\ncpu{others} 800 0 0 0 0 0 0 50\n"
    )
    for thread, wait in (("7", 2_000_000_000), ("8", 500_000_000)):
        folder = tmp_path / "self" / "task" / thread
        folder.mkdir(parents=True)
        (folder / "schedstat").write_text(f"123 {wait} 9\n")
    found = Snapshot.take(tmp_path)
    tick = os.sysconf("SC_CLK_TCK")
    assert found.queued_s == {"7": 2.0, "8": 0.5}
    assert found.busy_s == 160 / tick
    assert found.stolen_s == 40 / tick
    assert found.cpu_s > 0


def test_snapshot_without_proc(tmp_path):
    found = Snapshot.take(tmp_path / "nothing")
    assert (found.queued_s, found.busy_s, found.stolen_s) == (None, None, None)
    assert usable_cores() >= 1


def test_quiet_and_steady_is_ok():
    verdict = judge(samples_of(STEADY), QUIET, threads=1)
    assert verdict.status == "ok"
    assert verdict.reasons == []


@pytest.mark.parametrize(
    ("whole", "changes", "threads", "status", "words"),
    [
        (STEADY, {"queued_share": 0.1}, 1, "noisy", "waited for a core"),
        (STEADY, {"queued_share": 0.4}, 1, "invalid", "waited for a core"),
        (STEADY, {"cpu_share": 0.6}, 1, "invalid", "without processor time"),
        # One thread of ours beside 1.9 busy cores of two: 0.9 too many.
        (STEADY, {"others_cores": 1.9}, 1, "noisy", "other processes"),
        (STEADY, {"others_cores": 2.0}, 2, "invalid", "other processes"),
        (STEADY, {"stolen_share": 0.1}, 1, "noisy", "hypervisor"),
        ([6.0] * 10 + [6.3] * 10, {}, 1, "noisy", "drift"),
        ([6.0] * 10 + [9.0] * 10, {}, 1, "invalid", "drift"),
        ([5.7, 6.0, 6.0, 6.5] * 5, {}, 1, "ok", None),
        # Quartiles 5 and 6 around a median of 6.
        ([5.0, 6.0, 7.0, 6.0, 5.0] * 4, {}, 1, "noisy", "interquartile"),
        ([6.6] * 20, {}, 1, "noisy", "parts"),
    ],
)
def test_disturbances(whole, changes, threads, status, words):
    verdict = judge(samples_of(whole), load(**changes), threads=threads)
    assert verdict.status == status
    assert words is None or words in str(verdict)


def test_several_threads_may_be_idle_for_a_while():
    """Two threads that wait for each other use less than two cores of time; that is no contention."""
    assert judge(samples_of(STEADY), load(cpu_share=0.7), threads=2).status == "ok"
    assert judge(samples_of(STEADY), load(cpu_share=0.7), threads=1, on_cpu=False).status == "ok"


def test_unknown_numbers_accuse_nobody():
    blind = load(queued_share=None, others_cores=None, stolen_share=None)
    assert judge(samples_of(STEADY), blind, threads=1).status == "ok"


def test_unknown_numbers_leave_a_trace():
    blind = load(queued_share=None, others_cores=None, stolen_share=None)
    unseen = gpu_use(throttled=None, foreign=None)
    verdict = judge(samples_of(STEADY), blind, threads=1, on_cpu=False, gpu=unseen)
    assert verdict.not_checked == [
        "contention (waits for a core)",
        "contention (cores kept busy by others)",
        "steal",
        "throttling of the GPU",
        "other processes on the GPU",
    ]
    assert str(verdict).startswith("ok; not checked: contention")
    assert judge(samples_of(STEADY), QUIET, threads=1).not_checked == []


def test_counters_that_stand_still_while_we_run_are_unknown():
    """We ran 8 s of 10; a kernel by which all processes together ran 0.1 s keeps no such counter, nor one of steal."""
    before = Snapshot(0.0, 0.0, busy_s=50.0, stolen_s=0.0)
    dead = Load.between(before, Snapshot(10.0, 8.0, busy_s=50.1, stolen_s=0.0), cores=2)
    assert (dead.others_cores, dead.stolen_share) == (None, None)
    # Too little of ours for its ticks to have seen.
    short = Load.between(before, Snapshot(0.1, 0.1, busy_s=50.0, stolen_s=0.0), cores=2)
    assert (short.others_cores, short.stolen_share) == (0.0, 0.0)


def test_wide_units_are_named_with_the_worst():
    verdict = judge(samples_of(STEADY, unsettled={"segment 0": 1.5, "final": 4.0}), QUIET, threads=1)
    assert verdict.status == "noisy"
    assert verdict.reasons[0].number == 2
    assert "final, 4 times" in verdict.reasons[0].remedy
    assert "--max-seconds" in verdict.reasons[0].remedy


def gpu_use(**changes):
    return GpuUse(**{"before": GpuReading(), "after": GpuReading(), "throttled": [], "foreign": 0, **changes})


def test_gpu_reasons():
    hot = gpu_use(throttled=["thermal slowdown"], foreign=2)
    verdict = judge(samples_of(STEADY), QUIET, threads=1, on_cpu=False, gpu=hot)
    assert verdict.status == "noisy"
    assert [reason.number for reason in verdict.reasons] == [1, 2]
    assert "(thermal slowdown)" in verdict.reasons[0].remedy
    verdict = judge(samples_of(STEADY), QUIET, threads=1, on_cpu=False, gpu=gpu_use())
    assert (verdict.status, verdict.not_checked) == ("ok", [])


def test_a_drift_on_a_gpu_says_what_its_clock_did():
    moved = gpu_use(clocks_mhz=(1200, 1980))
    verdict = judge(samples_of([6.0] * 10 + [6.3] * 10), QUIET, threads=1, on_cpu=False, gpu=moved)
    assert "--lock-gpu-clocks=1200,1200" in str(verdict)


def test_neighbours_of_a_gpu_run_are_judged_by_the_one_core_that_it_uses():
    """Torch may have a thread for each of 16 cores; a run on the GPU uses one, so that a busy neighbour has its own."""
    neighbour = load(others_cores=1.0, cores=16)
    assert judge(samples_of(STEADY), neighbour, threads=16, on_cpu=False, gpu=gpu_use()).status == "ok"
    assert judge(samples_of(STEADY), neighbour, threads=16).status == "noisy"
    crowd = load(others_cores=15.5, cores=16)
    assert judge(samples_of(STEADY), crowd, threads=16, on_cpu=False, gpu=gpu_use()).status == "noisy"


def test_parts_made_ready_apart_need_not_add_up_to_the_whole():
    """2 + 3 + 2 ms of parts over a whole of about 6: a fault where the cuts are free, a fact where they are not."""
    apart = samples_of(STEADY, final=(2.0,))
    assert judge(apart, QUIET, threads=1).status != "ok"
    assert judge(apart, QUIET, threads=1, cuts_are_free=False).status == "ok"
