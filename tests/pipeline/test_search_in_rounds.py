"""`search` trains what its question needs: afresh, going on with what stands, and not where outcomes are named."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from check_rounds import made_up

import exitsearch
from exitsearch.cli.main import main
from exitsearch.errors import InputError, MismatchError
from exitsearch.pipeline.outcomes import Training
from exitsearch.search.untrained import candidates_of
from exitsearch.specs.backbone import EMBEDDED_NAME
from exitsearch.specs.outcomes import DOCUMENT_NAME, Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.candidates import Pair
from exitsearch.specs.question.request import SearchRequest

BUDGET = "uniform:10%,100%"
OUT = Path("outcomes") / f"{EMBEDDED_NAME}__digits"
# Of these 25 candidates the first round takes a part, and a question needs more.
BANK = made_up(5, placements=5, heads=5)


class Bank:
    """Stands for HeadTraining: a folder whose outcomes grow by what is asked for.

    Attributes:
        asked: the pairs of each round, of all that were made.
        training: how the last ones were to be trained.
        refuses: what is raised instead.
    """

    asked: list[list[Pair]]
    training: Training | None
    refuses: Exception | None

    def __init__(self, model: Any, training: Training, *, out: Path, watch: Any) -> None:
        type(self).training = training
        self.out = out

    def __call__(self, exits: Iterable[Pair], *, words: str) -> Outcomes:
        if self.refuses is not None:
            raise self.refuses
        self.asked.append(list(exits))
        file = self.out / DOCUMENT_NAME
        before = {(head.placement, head.head) for head in Outcomes.load(file).heads} if file.exists() else set()
        write(self.out, {*before, *self.asked[-1]})
        return Outcomes.load(self.out)


def facts(document: Any) -> Any:
    return document.model_copy(update={"backbone": document.backbone.model_copy(update={"name": EMBEDDED_NAME})})


def write(folder: Path, pairs: set[Pair]) -> None:
    heads = [head for head in BANK.outcomes.heads if (head.placement, head.head) in pairs]
    training = {"recipe": "frozen", "epochs": 7, "seed": 3}
    facts(BANK.outcomes).model_copy(update={"heads": heads, "training": training}).write(folder / DOCUMENT_NAME)


@pytest.fixture
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Bank]:
    """In a folder with the bank's profile, whose heads can be trained."""
    monkeypatch.chdir(tmp_path)
    facts(BANK.profile).write(tmp_path / "p.json")

    fresh = type("Fresh", (Bank,), {"asked": [], "training": None, "refuses": None})
    monkeypatch.setattr("exitsearch.pipeline.search.HeadTraining", fresh)
    return fresh


def search(**asked: Any) -> Any:
    return exitsearch.search("p.json", budget=asked.pop("budget", BUDGET), trials=0, **asked)


def everything(**asked: Any) -> list[Pair]:
    return candidates_of(Profile.read("p.json"), SearchRequest.asked(budget=BUDGET, **asked))


def test_all_and_nothing_tolerated_end_at_the_same_choice(bank: type[Bank]) -> None:
    lean = search(tolerance=0)
    said = lean.config.optimum.untrained
    few = sum(map(len, bank.asked))
    assert len(bank.asked) > 1
    assert (said.trained, said.candidates, said.could_add) == (few, 25, 0.0)
    assert few < 25
    whole = search(train_all=True)
    assert sum(map(len, bank.asked)) == 25
    assert whole.config.exits == lean.config.exits
    assert whole.config.optimum.untrained.exits == []
    # Without either option what stands is enough now.
    assert search().value == whole.value
    assert sum(map(len, bank.asked)) == 25


def test_what_stands_is_gone_on_with_as_it_was_trained(bank: type[Bank]) -> None:
    write(OUT, set(everything()[:4]))
    search(tolerance=0)
    assert bank.training is not None
    assert (bank.training.recipe, bank.training.epochs, bank.training.seed) == ("frozen", 7, 3)
    assert not set(everything()[:4]) & {pair for pairs in bank.asked for pair in pairs}


def test_what_cannot_be_gone_on_with_is_taken_as_it_is(bank: type[Bank]) -> None:
    write(OUT, set(everything()[:4]))
    bank.refuses = MismatchError("it holds a training that differs in weights")
    with pytest.warns(UserWarning, match="are taken as they are, .*: it holds a training that differs in weights"):
        found = search(tolerance=0)
    said = found.config.optimum.untrained
    assert (said.trained, said.candidates) == (4, 25)
    assert said.could_add > 0


def test_without_data_nothing_is_trained_and_the_rest_is_bounded(bank: type[Bank]) -> None:
    name = "test_vit"
    Path("p.json").write_text(Path("p.json").read_text().replace(EMBEDDED_NAME, name))
    write(Path("outcomes") / f"{name}__mine", set(everything()[:4]))
    document = Path("outcomes") / f"{name}__mine" / DOCUMENT_NAME
    document.write_text(document.read_text().replace(EMBEDDED_NAME, name))
    said = search().config.optimum.untrained
    assert bank.asked == []
    assert (said.trained, said.candidates) == (4, 25)


def test_named_outcomes_are_taken_as_they_are(bank: type[Bank]) -> None:
    write(Path("mine"), set(everything()[:4]))
    found = search(outcomes="mine")
    assert bank.asked == []
    assert found.config.optimum.untrained is None
    assert len(found.problem.candidates) == 4
    for asked in ({"tolerance": 0.1}, {"train_all": True}):
        with pytest.raises(InputError, match="outcomes that are named are taken as they are"):
            search(outcomes="mine", **asked)


def test_several_objectives_train_all(bank: type[Bank]) -> None:
    with pytest.warns(UserWarning, match="several objectives have no single optimum .*: all 25 candidates are trained"):
        found = search(objectives="value,params")
    assert bank.asked == [everything()]
    assert found.front is not None
    assert found.config.optimum.untrained.exits == []


def test_the_candidates_of_the_question_alone(bank: type[Bank]) -> None:
    found = search(heads="h0,h4", placements="1-3", tolerance=0)
    asked = {pair for pairs in bank.asked for pair in pairs}
    assert asked <= set(everything(heads="h0,h4", placements="1-3"))
    assert found.config.optimum.untrained.candidates == 6


def test_the_command_says_what_the_rest_could_add(bank: type[Bank], capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["search", "--budget-dist", BUDGET, "--profile", "p.json", "--trials", "0", "--no-guard"]
    assert main([*argv, "--tolerance", "0.3", "--sensitivity"]) == 0
    captured = capsys.readouterr()
    printed = " ".join(captured.out.split())
    assert "compare with the best choice of the trained candidates" in captured.err
    said = exitsearch.load_config("exitsearch-out").optimum.untrained
    assert said is not None
    assert f"{said.trained} of 25 candidates trained; the rest could add at most {said.could_add:.4f}" in printed
    assert "Exact optimum of the trained candidates" in printed
    page = Path("exitsearch-out/report.html").read_text()
    assert f"{said.trained} of 25 candidates trained" in page
    # The proof is repeated, also when more heads have been trained since for another question.
    check = ["check", "exitsearch-out/chosen.json", "--profile", "p.json", "--outcomes", str(OUT)]
    assert main(check) == 0
    assert "what the untrained could add: the same" in capsys.readouterr().out
    assert main([*argv, "--all", "--json", "--out", "all"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["untrained"]["trained"] == 25
    assert document["value"] <= said.value + 1e-12
    assert main(check) == 0
    assert "the proof holds" in capsys.readouterr().out
    assert main(["search", "--budget-dist", BUDGET, "--tolerance", "-1"]) == 2
    assert "a number from 0 is needed" in capsys.readouterr().err


def test_tolerance_with_knobs_is_refused(bank: type[Bank], tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("schema_version = 1\n[knobs]\nthreads = [1, 2]\n")
    with pytest.raises(InputError, match="--tolerance cannot be combined with"):
        exitsearch.search(budget=BUDGET, space="s.toml", tolerance=0.0)


def test_threads_are_those_that_neighbours_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    from exitsearch.pipeline.profile import free_threads

    notes: list[str] = []
    watch: Any = SimpleNamespace(note=notes.append)
    monkeypatch.setattr("exitsearch.measure.machine.load.usable_cores", lambda: 4)
    for torchs, busy, expected in ((4, 0, None), (4, 1, 3), (2, 1, None), (4, 4, 1), (4, 9, 1), (1, 4, None)):
        monkeypatch.setattr("torch.get_num_threads", lambda torchs=torchs: torchs)
        monkeypatch.setattr("exitsearch.measure.machine.load.busy_neighbours", lambda busy=busy: busy)
        assert free_threads(watch) == expected
    assert len(notes) == 3
    assert notes[0].startswith("other programs keep 1 of 4 cores busy, so 3 of 4 threads are used")
