"""The commands from end to end, in a folder of their own, on small work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import exitsearch
from exitsearch.cli.main import main

COSTS = "part,placement,head,latency_ms\nsegment,0,,10\nsegment,1,,10\nhead,0,linear,1\nhead,1,linear,1\nfinal,,,10\n"
VALUES = "placement,head,value\n0,linear,0.6\n1,linear,0.8\nfinal,,0.9\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run a command that must succeed; returns what it printed on stdout."""
    status = main(argv)
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return captured.out


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(capsys, *argv, "--json"))
    return found


def test_brought_tables(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By hand, budgets uniform from 0 to 40: G(t) = 1 - t/40. Both exits: answers at 11, 22, 32 ms, so
    0.6 * 29/40 + 0.2 * 18/40 + 0.1 * 8/40 = 0.545; without any 0.9 * 10/40 = 0.225; the second alone 21, 31:
    0.8 * 19/40 + 0.1 * 9/40 = 0.4025; the first alone 11, 31: 0.6 * 29/40 + 0.3 * 9/40 = 0.5025."""
    (folder / "costs.csv").write_text(COSTS)
    (folder / "values.csv").write_text(VALUES)
    argv = ["search", "--profile", "costs.csv", "--outcomes", "values.csv", "--budget-dist", "uniform:0,40"]
    argv += ["--trials", "12", "--model", "some_vit"]
    found = run_json(capsys, *argv)
    assert found["value"] == pytest.approx(0.545)
    assert found["regret"] == 0
    values = {row["name"]: row["value"] for row in found["baselines"]}
    assert values["backbone alone"] == pytest.approx(0.225)
    assert values["best single exit"] == pytest.approx(0.5025)
    config = exitsearch.load_config("exitsearch-out")
    assert [(e.placement, e.head) for e in config.exits] == [(0, "linear"), (1, "linear")]
    assert config.latency_ms == [11.0, 22.0, 32.0]
    assert 'data-figure="over_budget"' in (folder / "exitsearch-out" / "report.html").read_text()
    # The same search again resumes the study of the journal: no further trials.
    again = run(capsys, *argv)
    assert "12 trials" in again
    assert run_json(capsys, *argv, "--max-exits", "1")["value"] == pytest.approx(0.5025)


@pytest.mark.parametrize("table", ["mevit-cifar10", "mevit-cifar100"])
def test_published_tables(folder: Path, capsys: pytest.CaptureFixture[str], table: str) -> None:
    argv = ["search", "--profile", "published:mevit-gmacs", "--outcomes", f"published:{table}"]
    found = run_json(capsys, *argv, "--budget-dist", "uniform:10,80", "--trials", "10", "--storage", "mine.journal")
    assert found["exact"]
    assert found["regret"] == 0
    assert all(row["value"] <= found["value"] for row in found["baselines"])
    assert (folder / "mine.journal").exists()


def test_budgets_that_do_not_matter_are_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "costs.csv").write_text(COSTS)
    (folder / "values.csv").write_text(VALUES)
    argv = ["search", "--profile", "costs.csv", "--outcomes", "values.csv", "--trials", "0", "--budget-dist"]
    (note,) = run_json(capsys, *argv, "uniform:50,80")["notes"]
    assert "30 ms" in note  # the full model
    assert "11 ms" in note  # the fastest answer
    (note,) = run_json(capsys, *argv, "uniform:1,2")["notes"]
    assert "below the first possible answer at 11 ms" in note


def test_the_whole_way(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    candidates = ["--heads", "linear,mlp_ee", "--placements", "2,7"]
    run(capsys, "profile", *candidates, "--threads", "1", "--max-seconds", "0.1", "--precision", "50%")
    (profile,) = (folder / "profiles").glob("vit_digits_patch1_8__cpu__fp32__bs1__eager.json")
    assert exitsearch.load_profile(profile).is_timed
    run(capsys, "train-heads", *candidates, "--epochs", "1")
    search = ["search", "--budget-dist", "uniform:10%,100%", "--trials", "9"]
    found = run_json(capsys, *search)
    config = exitsearch.load_config("exitsearch-out")
    assert config.expected.held_out is not None
    assert found["interval"][0] <= config.expected.held_out <= found["interval"][1]
    trained = run_json(capsys, "train", "--config", "exitsearch-out", "--epochs", "1")
    # The same recipe, seed and data: every chosen head lands exactly where the search saw it.
    assert trained["scores"] == trained["predicted"]
    model = exitsearch.load_model("exitsearch-out/trained")
    assert len(model.heads) == len(config.exits)
    assert "verdict" in run(capsys, "check", str(profile))
    assert "regret" in run(capsys, "check", "exitsearch-out")
    assert "metric" in run(capsys, "check", "outcomes/vit_digits_patch1_8__digits")


def test_a_profile_without_outcomes_names_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["profile", "--model", "test_vit", "--heads", "linear", "--placements", "1", "--max-seconds", "0.1"]
    run(capsys, *argv, "--precision", "50%")
    assert main(["search", "--budget-dist", "uniform:10%,100%"]) == 2
    assert "exitsearch train-heads --model test_vit" in capsys.readouterr().err
    counted = run_json(capsys, *argv, "--counts-only", "--out", "counts.json")
    assert counted["full_ms"] is None
    assert main(["search", "--budget-dist", "point:1", "--profile", "counts.json", "--data", "digits"]) == 2
    assert "only counts operations" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["heads", "placements", "budgets", "models", "recipes"])
def test_lists(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = run_json(capsys, "list", what)[what]
    assert rows
    assert str(next(iter(rows[0].values())))


def test_env(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_json(capsys, "env")["cores"] >= 1


def test_the_example_of_an_own_training_loop(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "costs.csv").write_text(COSTS)
    (folder / "values.csv").write_text(VALUES)
    run(
        capsys,
        *("search", "--profile", "costs.csv", "--outcomes", "values.csv", "--budget-dist", "uniform:0,40"),
        *("--trials", "0", "--model", "vit_digits_patch1_8"),
    )
    example = Path(__file__).parents[2] / "examples" / "own_training_loop.py"
    done = subprocess.run(
        [sys.executable, str(example), "exitsearch-out"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["exit 0", "exit 1", "exit 2"]
