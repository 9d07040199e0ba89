"""train-heads as one of several processes, and where a head is dropped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from exitsearch.cli.main import main
from exitsearch.learn.bank import run
from exitsearch.learn.bank.processes import Processes
from exitsearch.pipeline import outcomes as step
from exitsearch.pipeline.watch import Silent
from exitsearch.specs.outcomes import Outcomes

SMALL = ["train-heads", "--heads", "linear", "--placements", "2,7", "--epochs", "1", "--threads", "1"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_of_several_processes_the_first_alone_speaks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watches: list[object] = []

    def made(*arguments: object, watch: object, **options: object) -> Outcomes:
        watches.append(watch)
        return Outcomes.model_validate(
            {
                "schema_version": 1,
                "backbone": {"name": "toy"},
                "metric": "accuracy",
                "splits": {"choice": 3},
                "heads": [],
                "final": {"scores": {"choice": 0.5}},
            }
        )

    monkeypatch.setattr(step, "make_outcomes", made)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert main([*SMALL, "--json"]) == 0
    (said,) = [capsys.readouterr().out]
    assert json.loads(said)["outcomes"]
    assert [isinstance(watch, Silent) for watch in watches] == [False, True]


def test_each_process_is_told_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Processes] = []

    class Enough(Exception):
        pass

    def trained(*arguments: Any, processes: Processes, **options: Any) -> None:
        told.append(processes)
        raise Enough

    monkeypatch.setattr("exitsearch.learn.bank.train.train_bank", trained)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(Enough):
        main(SMALL)
    assert [(each.rank, each.count) for each in told] == [(2, 3)]


def test_a_rank_that_cannot_be_is_said_in_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "2")
    assert main(SMALL) == 2
    assert "0 <= RANK < WORLD_SIZE" in capsys.readouterr().err


def test_a_head_that_diverges_is_said_and_the_others_are_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    create = run.create_head

    def poisoned(head: str, **options: Any) -> torch.nn.Module:
        module = create(head, **options)
        if options["placement"].index == 7:
            with torch.no_grad():
                next(module.parameters()).fill_(float("nan"))
        return module

    monkeypatch.setattr(run, "create_head", poisoned)
    assert main([*SMALL, "--out", "bank"]) == 0
    said = capsys.readouterr()
    assert "linear at placement 7 is dropped, the others are trained on: its loss became nan in epoch 1" in said.err
    assert "wrote bank" in said.out
    assert list(Outcomes.load("bank").values()) == [(2, "linear")]
