"""Several processes share the heads of a bank: the same weights and answers as of one, and work that can go on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_data import HEADS, PLACEMENTS, RECIPE, small_backbone, small_digits

from exitsearch.errors import InputError
from exitsearch.learn.bank.processes import Processes
from exitsearch.learn.bank.train import train_bank
from exitsearch.specs.outcomes import Outcomes

HERE = Path(__file__).parents[1]
EXITS = [(placement, head) for placement in PLACEMENTS for head in HEADS]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What one process makes."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole")
    backbone = small_backbone()
    train_bank(backbone, small_digits(backbone), out=out, exits=EXITS, recipe=RECIPE)
    return out


def _run(out, count, **job):
    """Start `processes_worker.py` so many times, as torchrun does; what each printed, and its exit status."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    running = [
        subprocess.Popen(
            [sys.executable, str(HERE / "processes_worker.py"), json.dumps({"out": str(out), **job})],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(count)
    ]
    found = []
    for process in running:
        out_, err = process.communicate(timeout=300)
        found.append((process.returncode, out_, err))
    return found


def _said(found):
    assert [status for status, _, _ in found] == [0] * len(found), found
    return [json.loads(out) for _, out, _ in found]


def _assert_same(mine, theirs):
    files = [path.relative_to(theirs) for path in theirs.rglob("*.safetensors")]
    assert {path.relative_to(mine) for path in mine.rglob("*.safetensors")} == set(files)
    for name in files:
        a, b = load_file(mine / name), load_file(theirs / name)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in b), name
    assert Outcomes.load(mine).values() == Outcomes.load(theirs).values()
    assert not (mine / "training").exists()


@pytest.mark.parametrize("count", [2, 3])
def test_they_end_as_one_does(whole, tmp_path, count):
    said = _said(_run(tmp_path, count))
    _assert_same(tmp_path, whole)
    values = {f"{p}/{h}": value for (p, h), value in Outcomes.load(whole).values().items()}
    assert all(each["values"] == values for each in said)
    # Every head is trained by one of them, the final classifier by the first, whose backbone all have in the end.
    trained = [key for each in said for key in each["trained"]]
    assert sorted(trained) == sorted([*values, "final"])
    assert "final" in said[0]["trained"]
    assert all(len(each["trained"]) >= 1 for each in said)
    assert len({each["final"] for each in said}) == 1


def test_a_head_that_one_of_them_drops_is_told_by_the_first(whole, tmp_path):
    said = _said(_run(tmp_path, 2, poisoned="4/linear"))
    outcomes = Outcomes.load(tmp_path)
    assert [(d.placement, d.head) for d in outcomes.dropped] == [(4, "linear")]
    assert [len(each["notes"]) for each in said] == [1, 0]
    expected = Outcomes.load(whole).values()
    assert outcomes.values() == {exit_: expected[exit_] for exit_ in EXITS if exit_ != (4, "linear")}


def test_one_that_dies_leaves_work_that_another_number_of_them_ends(whole, tmp_path):
    """The second of two is killed in the second epoch: the first says so, and three go on to the same end."""
    (first, _, said), (second, _, _) = _run(tmp_path, 2, kill={"rank": 1, "step": 5})
    assert (first, second) == (1, -9)
    assert "another process of this training cannot be reached, or has ended" in said
    assert "Traceback" not in said
    assert not (tmp_path / "outcomes.json").exists()
    assert list((tmp_path / "training").iterdir())
    said = _said(_run(tmp_path, 3))
    _assert_same(tmp_path, whole)
    assert min(each["steps"] for each in said) < 6


def test_what_is_wrong_is_said_by_all(whole):
    """A training of something else stands there: the first sees it."""
    found = _run(whole, 2, seed=1)
    assert [status for status, _, _ in found] == [2, 1]
    assert all("differs in seed" in said for _, _, said in found)


def test_where_all_stands_nothing_is_done(whole):
    said = _said(_run(whole, 2))
    assert [each["trained"] for each in said] == [[], []]


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, (0, 1, 0)),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, (3, 4, 1)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, (1, 2, 0)),
    ],
)
def test_the_environment_says_who_is_who(environment, found):
    processes = Processes.from_environment(environment)
    assert (processes.rank, processes.count, processes.local_rank) == found


@pytest.mark.parametrize(
    "environment", [{"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "one"}, {"WORLD_SIZE": "0"}, {"LOCAL_RANK": "-1"}]
)
def test_an_environment_that_cannot_be_is_refused(environment):
    with pytest.raises(InputError, match=r"0 <= RANK < WORLD_SIZE.*unset these"):
        Processes.from_environment(environment)


def test_each_takes_a_gpu_of_its_own():
    second = Processes(rank=5, count=8, local_rank=1)
    assert [second.own_device(name) for name in ("cuda", "cuda:3", "cpu")] == ["cuda:1", "cuda:3", "cpu"]
    assert Processes().own_device("cuda") == "cuda"
