"""The solver's time on the smallest problems, beside the solver of a revision too; and the problems and limits."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import bench_solver
import pytest

ROOT = Path(__file__).parents[2]
# No history, no solver of before.
HISTORY = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True).returncode == 0
COSTS = {"exits", "worst_s", "worst_cpu_s", "peak_mib", "exact", "worst_gap"}
WHAT = {"placements", "heads", "policy", "values", "noise", "limit", "before"}


def test_smallest(call):
    called = call("bench_solver", "--sizes", "3x2", "--seeds", "1", "--kinds", "none,params")
    assert called.status == 0
    assert called.document["schema_version"] == 2
    assert called.figures.keys() == {"seeds", "slowdowns", "before", "runs"}
    assert (called.figures["seeds"], called.figures["slowdowns"], called.figures["before"]) == (1, 300, None)
    runs = called.figures["runs"]
    assert [(run["policy"], run["values"], run["limit"]) for run in runs] == [
        (policy, values, limit)
        for policy in ("interruptible", "contract")
        for values, limit in (("random", "none"), ("realistic", "none"), ("realistic", "params"))
    ]
    for run in runs:
        assert run.keys() == COSTS | WHAT
        assert (run["placements"], run["heads"], run["noise"], run["before"]) == (3, 2, True, None)
        assert 0 <= run["exits"] <= 3
        assert 0 < run["worst_s"] < 60
        assert 0 <= run["worst_cpu_s"] < 60
        assert 10 < run["peak_mib"] < 200
        assert run["exact"] is True
        assert 0 <= run["worst_gap"] < 1e-9
    heading, *lines = called.out.splitlines()
    assert heading.split()[:5] == ["size", "policy", "values", "limit", "exits"]
    assert [line.split()[:4] for line in lines] == [["3x2", r["policy"], r["values"], r["limit"]] for r in runs]


@pytest.mark.skipif(not HISTORY, reason="not a git repository")
def test_beside_the_solver_of_a_revision(call):
    called = call(
        "bench_solver", "--sizes", "2x1", "--seeds", "1", "--kinds", "6 exits", "--before", "HEAD", "--rounds", "1"
    )
    assert called.status == 0
    assert called.figures["before"] == "HEAD"
    for run in called.figures["runs"]:
        assert run.keys() == COSTS | WHAT | {"ratio", "same_value"}
        assert run["before"].keys() == COSTS
        assert run["same_value"] is True
        assert 0 < run["ratio"] < 1000
    heading, *lines = called.out.splitlines()
    assert heading.endswith("now/before same value")
    assert [line.split()[-1] for line in lines] == ["yes", "yes"]


@pytest.mark.skipif(not HISTORY, reason="not a git repository")
def test_a_revision_that_is_not_there(capsys):
    assert bench_solver.main(["--before", "no-such-revision"]) == 1
    assert capsys.readouterr().err.startswith("bench_solver: git knows no package at revision no-such-revision")


def test_a_package_without_a_solver_is_not_timed(capsys, tmp_path, monkeypatch):
    """Nor is another's in its place, where the package is installed so that it can be edited."""
    (tmp_path / "exitsearch").mkdir()
    (tmp_path / "exitsearch" / "__init__.py").write_text("")
    monkeypatch.setattr(bench_solver, "ROOT", tmp_path)
    assert bench_solver.main(["--sizes", "2x1", "--seeds", "1", "--kinds", "none"]) == 1
    assert capsys.readouterr().err.startswith(f"bench_solver: the solver in {tmp_path} failed on ")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of one process alone")
def test_the_peak_is_not_that_of_who_began_the_process():
    """A quarter of a GiB here, which the process of its own does not have."""
    block = bytearray(2**28)
    block[::4096] = b"x" * len(block[::4096])
    assert bench_solver.peak_mib() > 256
    case = {"problem": {"placements": 2, "heads": 1, "realistic": True, "noise": False, "seed": 0}}
    found = bench_solver.in_process({**case, "policy": "contract", "limits": {}}, ROOT)
    assert 10 < found["peak_mib"] < 200


def test_modules_of_another_package_are_seen(monkeypatch, tmp_path):
    assert bench_solver.modules_elsewhere() == []
    monkeypatch.setitem(sys.modules, "exitsearch.other", SimpleNamespace(__file__=str(tmp_path / "other.py")))
    assert bench_solver.modules_elsewhere() == ["exitsearch.other"]


@pytest.mark.parametrize("policy", bench_solver.POLICIES)
def test_limits_bind_and_can_be_kept(policy):
    problem = replace(bench_solver.make_problem(4, 3, realistic=True, noise=True, seed=0), policy=policy)
    limits = bench_solver.limits_of(problem)
    assert ["none", *limits] == list(bench_solver.KINDS)
    case = {"problem": {"placements": 4, "heads": 3, "realistic": True, "noise": True, "seed": 0}, "policy": policy}
    free = bench_solver.solve_one({**case, "limits": {}})
    found = {name: bench_solver.solve_one({**case, "limits": limit}) for name, limit in limits.items()}
    assert all(one["exact"] and 0 <= one["gap"] < 1e-9 for one in found.values())
    assert all(one["value"] <= free["value"] + 1e-12 for one in found.values())
    # Half of what the best takes is not enough for it; it keeps to its own least value and to 6 of 4 exits.
    assert all(found[name]["value"] < free["value"] for name in ("params", "memory", "all but floor"))
    assert found["all but floor"]["value"] <= min(found[name]["value"] for name in ("params", "memory", "energy"))
    assert found["floor"]["value"] == found["6 exits"]["value"] == free["value"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--seeds", "0"], "--seeds must be 1 or more; found 0"),
        (["--rounds", "0"], "--rounds must be 1 or more; found 0"),
        (["--kinds", "none,parms"], "unknown kinds of limits: parms; known: none, params"),
    ],
)
def test_wrong_options(argv, words, capsys):
    assert bench_solver.main(argv) == 2
    assert capsys.readouterr().err.startswith(f"bench_solver: {words}")


def test_sizes(capsys):
    assert bench_solver.sizes("12x7, 3x2") == ((12, 7), (3, 2))
    for text in ("12", "axb", "1x2x3"):
        with pytest.raises(SystemExit, match="2"):
            bench_solver.main(["--sizes", text])
        assert f"as 12x7,24x12; found '{text}'" in capsys.readouterr().err
