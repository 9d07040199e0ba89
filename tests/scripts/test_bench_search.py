"""Regret of ways to choose exits at the smallest size, a run that goes on, and the detector of impossible regrets."""

from __future__ import annotations

import json
from argparse import Namespace

import bench_search
import pytest

SMALL = ["--sizes", "4x2", "--seeds", "2", "--trials", "5,10", "--no-tables", "--policies", "interruptible,contract"]
METHODS = "random,greedy,spaced,ours"


def test_smallest(call, tmp_path):
    table = tmp_path / "table.md"
    called = call("bench_search", *SMALL, "--methods", METHODS, "--markdown", table)
    assert called.status == 0
    assert called.document["schema_version"] == 2
    runs = called.figures["runs"]
    assert len(runs) == 2 * 2 * 4  # policies, limits, methods
    for run in runs:
        few, many = (run["mean_regret"][mark] for mark in ("5", "10"))
        assert few >= many >= -1e-9
        assert few < 1
        assert run["exact"] is True
        assert len(run["runs"]) == 2
        assert run["mean_regret"]["5"] == pytest.approx(sum(one["regrets"]["5"] for one in run["runs"]) / 2)
        if run["method"] == "ours":
            assert few == pytest.approx(0, abs=1e-9)
    assert any(run["mean_regret"]["5"] > 0 for run in runs if run["method"] == "random")
    heading, *rows = called.out.splitlines()
    assert heading.split()[:4] == ["problem", "policy", "exits", "method"]
    assert len(rows) == len(runs)
    assert len(table.read_text().splitlines()) == 2 + len(runs)


def test_a_run_goes_on_where_the_file_stops(tmp_path, capsys):
    target = tmp_path / "found.json"
    argv = [*SMALL, "--json", str(target)]
    assert bench_search.main([*argv, "--methods", "ours"]) == 0
    first = json.loads(target.read_text())["runs"]
    capsys.readouterr()
    assert bench_search.main([*argv, "--methods", "ours,greedy"]) == 0
    runs = json.loads(target.read_text())["runs"]
    assert runs[: len(first)] == first
    assert {run["method"] for run in runs[len(first) :]} == {"greedy"}
    assert "ours" not in capsys.readouterr().out
    assert bench_search.main(["--sizes", "", "--no-tables", "--seeds", "3", "--json", str(target)]) == 2
    assert "holds rows of other seeds" in capsys.readouterr().err
    assert json.loads(target.read_text())["runs"] == runs


@pytest.mark.parametrize(
    ("argv", "words"),
    [(["--methods", "tpe,ourz"], "unknown methods: ourz"), (["--profile", "p.json"], "belong together")],
)
def test_wrong_options(argv, words, capsys):
    assert bench_search.main(argv) == 2
    assert words in capsys.readouterr().err


def test_impossible_regrets_are_faults():
    rows = bench_search.Rows(Namespace(json=None, trials=(5,), seeds=1))
    names = {"problem": "4x2", "policy": "contract", "max_exits": None}
    rows.add({**names, "method": "tpe", "runs": [{"regrets": {5: 0.1}}]})
    rows.add({**names, "method": "ours", "runs": [{"regrets": {5: 0.0}}]})
    assert rows.faults() == []
    rows.add({**names, "method": "random", "runs": [{"regrets": {5: -0.25}}]})
    rows.add({**names, "method": "ours", "runs": [{"regrets": {5: 0.5}}]})
    better, worse = rows.faults()
    assert better.endswith("random: better than the optimum by 0.25")
    assert worse.endswith("ours: regret 0.5")
