"""`train-heads --dry-run`: says what it would take and writes nothing."""

from __future__ import annotations

import json

import pytest

from exitsearch.cli.main import main

ARGV = ["train-heads", "--dry-run", "--heads", "linear", "--placements", "0,3", "--threads", "1"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.iterdir())


def test_numbers_of_the_digits(capsys):
    assert main([*ARGV, "--json", "--batch-size", "100", "--lr", "0.01", "--epochs", "7"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["heads"], found["placements"], found["batch_size"], found["epochs"]) == (2, 2, 100, 7)
    assert found["samples"] == {"heads": 997, "choice": 400, "report": 400}
    assert found["parameters"] == 2 * (64 * 2 + 64 * 10 + 10)  # a norm and a linear layer each
    assert found["steps"] == 10
    assert found["total_seconds"] > 7 * found["epoch_seconds"] > 0


def test_for_people(capsys):
    assert main([*ARGV, "--workers", "1"]) == 0
    out = capsys.readouterr().out
    for words in ("2 at 2 placements", "heads 997, choice 400, report 400", "1 that trains, 1 that read", "checkpoint"):
        assert words in out


def test_numbers_that_cannot_be_are_refused(capsys):
    assert main([*ARGV, "--lr", "-1"]) == 2
    assert "a learning rate is a finite number above 0, found -1.0" in capsys.readouterr().err
