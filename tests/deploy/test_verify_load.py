"""Busy processes are started and surely ended; what disturbed a run is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exitsearch.deploy.verify_load import busy_processes, disturbance
from exitsearch.measure.machine.load import Load


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_they_run_and_end_with_the_block():
    with busy_processes(2) as pids:
        assert len(pids) == 2
        assert all(is_running(pid) for pid in pids)
    assert not any(is_running(pid) for pid in pids)


def test_they_end_when_the_block_fails():
    with pytest.raises(RuntimeError, match="broken"), busy_processes(1) as (pid,):
        raise RuntimeError("broken")
    assert not is_running(pid)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_they_end_when_whoever_started_them_is_killed():
    program = (
        "import time\nfrom exitsearch.deploy.verify_load import busy_processes\n"
        "with busy_processes(1) as (pid,):\n    print(pid, flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        pid = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 30
        while is_running(pid):
            assert time.monotonic() < deadline, "it runs on"
            time.sleep(0.02)


def load(**facts):
    quiet = {"wall_s": 10.0, "cpu_share": 0.9, "queued_share": 0.0, "switches_per_s": 1.0, "stolen_share": 0.0}
    return Load(**{**quiet, "others_cores": 0.0, "cores": 2, "load_average": 1.5, **facts})


@pytest.mark.parametrize(
    ("facts", "own", "words"),
    [
        ({}, 0, None),
        ({"others_cores": 1.0}, 0, None),  # the other core
        ({"others_cores": 1.6}, 0, "other programs kept 1.6 of 2 cores busy (load average 1.5)"),
        ({"others_cores": 1.0}, 1, None),  # that is ours
        ({"others_cores": 1.9}, 1, "other programs kept 0.9 of 2 cores busy (load average 1.5)"),
        ({"queued_share": 0.2}, 0, "this process waited for a core during 20% of the time (load average 1.5)"),
        ({"queued_share": 0.2}, 2, None),  # as was asked
        ({"stolen_share": 0.1, "load_average": None}, 0, "the hypervisor gave 10% of the time to other machines"),
        ({"others_cores": None, "queued_share": None, "stolen_share": None}, 0, None),
    ],
)
def test_what_disturbed_a_run(facts, own, words):
    assert disturbance(load(**facts), threads=1, own=own) == words
