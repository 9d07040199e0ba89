"""`exitsearch verify`: end to end on the digits, exit statuses, and every wrong input as one sentence.

No test looks at a clock: budgets are so long that the last exit always answers.
"""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest
from export_models import SIDE
from tiny_bundle import write_tiny_bundle

from exitsearch.cli.main import main
from exitsearch.specs.verification import Verification

LONG = ["--budget-dist", "point:60000", "--seconds", "0.2"]


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_tiny_bundle(tmp_path / "tiny", values=[0.5, 0.7, 0.9], policy="interruptible", confidence=None)


def test_random_inputs_verify_times_alone(tiny, capsys):
    assert main(["verify", "tiny", *LONG, "--load", "1"]) == 0
    captured = capsys.readouterr()
    assert "values are not observed" in " ".join(captured.out.split())
    assert "name it with --data" in captured.err
    found = Verification.read("verify.json")
    assert (found.within, found.values_observed, found.data) == (True, False, None)
    assert [phase.name for phase in found.phases] == [
        "quiet, interrupted",
        "quiet, deadlines",
        "load, interrupted",
        "load, deadlines",
        "load, uncorrected",
        "after, deadlines",
    ]
    assert [phase.load for phase in found.phases] == [0, 0, 1, 1, 1, 0]
    assert [phase.decides for phase in found.phases] == [True] + 5 * [False]
    assert [phase.observed.value for phase in found.phases] == pytest.approx([0.9] * 6)
    assert [phase.predicted.value for phase in found.phases] == pytest.approx([0.9] * 6)
    assert sorted(os.listdir()) == ["tiny", "verify.html", "verify.json"]


def test_requests_afterwards_come_when_the_load_has_long_gone(tiny, monkeypatch):
    rests, sleep = [], time.sleep

    def rest(seconds):
        rests.append(seconds)
        sleep(0 if seconds == 60 else seconds)

    monkeypatch.setattr(time, "sleep", rest)
    assert main(["verify", "tiny", *LONG, "--load", "1", "--settle", "60", "--pause-ms", "2", "--quiet"]) == 0
    assert rests.count(60) == 1
    found = Verification.read("verify.json")
    assert (found.settle, found.pause_ms) == (60, 2)


@pytest.mark.usefixtures("remembered_graphs")
def test_a_bundle_that_is_worth_less_than_it_states(exported, tmp_path, monkeypatch, capsys):
    """Untrained weights that are stated to be right at 60% are right at 10% of the digits: status 1."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(exported("resnet")[1].folder, "bundle")
    assert SIDE == 32
    assert main(["verify", "bundle", *LONG, "--data", "digits", "--out", "out/found.json", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "out" / "found.json").read_text())
    (decides,) = (phase for phase in found["phases"] if phase["decides"])
    assert found["values_observed"]
    assert found["samples"] > 300
    assert decides["predicted"]["value"] == pytest.approx(0.6)
    assert decides["observed"]["value"] < 0.4
    assert decides["predicted"]["samples_value"] == pytest.approx(decides["observed"]["value"])
    assert not decides["within"]
    assert not found["within"]
    assert [use["share"] for use in decides["observed"]["exits"]] == [0.0, 1.0]


def test_the_tables_fit_into_eighty_columns(tiny, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["verify", "tiny", *LONG, "--load", "1"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(("wrote ", "next: "))]
    assert any(line.startswith("phase") for line in rows)
    assert max(map(len, rows)) <= 80


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["gone"], "gone"),
        (["tiny", "--budget-dist", "uniform"], "no numbers follow its name; write uniform:LO,HI"),
        (["tiny", "--budget-dist", "trace:gone.csv"], "gone.csv"),
        (["tiny", "--quantile", "0.8"], "quantile must be one of 0.5, 0.9 and 0.99, found 0.8"),
        (["tiny", "--threads", "5000"], "threads must be a whole number from 1 to 1024"),
        (["tiny", "--load", "1025"], "--load must be a number of processes from 0 to 1024, found 1025"),
        (["tiny", "--pause-ms", "60001"], "--pause-ms must be from 0 to 60000, found 60001"),
        (["tiny", "--settle", "-1"], "--settle must be from 0 to 3600 seconds, found -1"),
        (["tiny", "--settle", "nan"], "a finite number is needed, found 'nan'"),
        (["tiny", "--seconds", "0"], "a number of seconds above 0 is needed"),
        (["tiny", "--out", "tiny"], "tiny"),
        (["sure"], "under the policy confidence where an input leaves depends on the input"),
        (["broken"], "bundle.json"),
    ],
)
def test_wrong_input_is_one_sentence(tiny, tmp_path, capsys, argv, sentence):
    write_tiny_bundle(tmp_path / "sure")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "bundle.json").write_text("{")
    before = sorted(tmp_path.rglob("*"))
    assert main(["verify", "--seconds", "0.05", *argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err
    assert "Traceback" not in captured.err
    assert sorted(tmp_path.rglob("*")) == before
