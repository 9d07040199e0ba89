"""One question, one path: the same pairs in every step, refusals before any work, and Python like the commands."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import exitsearch
from exitsearch.cli.main import main
from exitsearch.errors import InputError, UnavailableError
from exitsearch.measure.energy import NoMeter
from exitsearch.models.backbone import create_backbone
from exitsearch.models.heads import fitting_exits
from exitsearch.specs.load import load_space
from exitsearch.specs.question.candidates import Candidates

PACKAGE = Path(exitsearch.__file__).parent
SPACES = PACKAGE.parent / "search_spaces"
SPACE = """schema_version = 1
placements = "3-8"

[backbone]
name = "vit_digits_patch1_8"

[[heads]]
type = "linear"
placements = "3-4"

[[heads]]
type = "mlp"
placements = "5-6"
"""
QUICK = ["--max-seconds", "0.1", "--epochs", "1", "--threads", "1", "--no-guard", "--trials", "0"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.toml").write_text(SPACE)
    return tmp_path


def test_the_same_pairs_in_profile_training_and_search(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--placements 0-5 with a space of 3-8, and placements of its own for every head: exactly three pairs."""
    wanted = [(3, "linear"), (4, "linear"), (5, "mlp")]
    asked = ["--space", "space.toml", "--placements", "0-5"]
    assert main(["profile", *asked, "--max-seconds", "0.1", "--threads", "1", "--out", "p.json"]) == 0
    assert main(["train-heads", *asked, "--epochs", "1", "--threads", "1", "--out", "o"]) == 0
    # All pairs are there to be chosen; the search allows those three alone.
    everything = ["--heads", "linear,mlp", "--threads", "1"]
    assert main(["profile", *everything, "--max-seconds", "0.1", "--out", "all.json"]) == 0
    assert [(cost.placement, cost.head) for cost in exitsearch.load_profile("p.json").heads] == wanted
    assert [(outcome.placement, outcome.head) for outcome in exitsearch.load_outcomes("o").heads] == wanted
    found = exitsearch.search(
        "all.json", "o", budget="uniform:10%,100%", space="space.toml", placements="0-5", trials=0
    )
    assert [(c.placement, c.head) for c in found.problem.candidates] == wanted
    capsys.readouterr()
    # What a search trains on the way is the same too.
    argv = ["search", "--budget-dist", "uniform:10%,100%", *asked, *QUICK, "--profile", "all.json", "--json"]
    assert main(argv) == 0
    trained = exitsearch.load_outcomes("outcomes/vit_digits_patch1_8__digits")
    assert [(outcome.placement, outcome.head) for outcome in trained.heads] == wanted


def test_a_shipped_space_of_exact_pairs_has_eight() -> None:
    space = load_space(SPACES / "lgvit_vit_base.toml")
    backbone = create_backbone(space.backbone.name or "", pretrained=False, device="meta")
    exits = fitting_exits(backbone.placements, Candidates.of(space=space))
    assert [place for place, _ in exits] == [3, 4, 5, 6, 7, 8, 9, 10]
    assert [head for _, head in exits[::2]] == ["lph", "lph(depthwise=false)", "gah(stride=2)", "gah(stride=3)"]


def test_one_rule_answers_which_pairs() -> None:
    """Placements are read from text in one place, heads are fitted in one, and the others call them."""
    readers, fitters = set(), set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id == "select_placements":
                    readers.add(path.relative_to(PACKAGE).as_posix())
                if node.func.id == "check_fits":
                    fitters.add(path.relative_to(PACKAGE).as_posix())
    assert readers == {"specs/question/candidates.py"}
    # Option values are checked at a first placement by the settings; a model is checked as it is built.
    assert fitters <= {"models/heads/fitting.py", "models/heads/registry.py", "pipeline/setting_heads.py", "testing.py"}


@pytest.mark.parametrize("knobs", ["", "[knobs]\nthreads = [1, 2]\n"])
def test_energy_without_a_meter_is_refused_before_any_work(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, knobs: str
) -> None:
    monkeypatch.setattr("exitsearch.measure.energy.find_meter", lambda device: NoMeter("no counter was found"))
    monkeypatch.setattr("exitsearch.models.backbone.create_backbone", _never)
    (folder / "space.toml").write_text(SPACE + knobs)
    before = sorted(folder.rglob("*"))
    for asked in (["--max-energy", "1J"], [] if knobs else ["--objectives", "value,energy"]):
        if asked:
            assert main(["search", "--budget-dist", "uniform:1,2", "--space", "space.toml", *asked]) == 2
            (sentence,) = capsys.readouterr().err.splitlines()
            assert "they cannot be measured here: no counter was found; leave it out, or bring a profile" in sentence
    assert sorted(folder.rglob("*")) == before


def _never(*args: object, **options: object) -> Any:
    raise AssertionError("a backbone was made")


def test_energy_with_a_profile_without_energies_is_refused_before_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exitsearch.profile(heads="linear", placements=[0], max_seconds=0.1, threads=1, out="p.json")
    monkeypatch.setattr("exitsearch.pipeline.search.HeadTraining", _never)
    with pytest.raises(InputError, match="make it again with exitsearch profile --energy"):
        exitsearch.search("p.json", budget="uniform:1,2", max_energy="1J")


def test_python_does_what_the_commands_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"heads": "linear", "placements": "2,5"}
    profile = exitsearch.profile(**asked, max_seconds=0.1, threads=1)
    outcomes = exitsearch.train_heads(**asked, epochs=1, threads=1)
    assert (folder / "profiles" / f"{profile.condition()}.json").exists()
    assert (folder / "outcomes" / "vit_digits_patch1_8__digits" / "outcomes.json").exists()
    mine = exitsearch.search(budget="uniform:10%,100%", trials=3, out="mine")
    argv = ["search", "--budget-dist", "uniform:10%,100%", "--trials", "3", "--no-guard", "--out", "theirs", "--json"]
    assert main(argv) == 0
    assert json.loads(capsys.readouterr().out)["value"] == mine.value
    one, other = (json.loads(Path(name, "chosen.json").read_text()) for name in ("mine", "theirs"))
    assert {**one, "created": ""} == {**other, "created": ""}
    # Documents that are at hand will do as well, one of them too.
    for given in ((profile, outcomes), (profile, None), (None, outcomes)):
        assert exitsearch.search(*given, budget="uniform:10%,100%", trials=0).value == mine.value


def test_a_published_table_is_named_where_it_is_built_in(folder: Path) -> None:
    with pytest.raises(InputError, match="take the built-in --outcomes published:mevit-cifar10 or --outcomes publ"):
        exitsearch.search("published:mevit-gmacs", budget="uniform:10,80")


def test_a_missing_device_is_one_sentence(folder: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(UnavailableError):
        exitsearch.profile(device="cuda")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"trials": -1}, "trials should be greater than or equal to 0, found -1"),
        ({"batch_size": 0}, "batch_size should be greater than or equal to 1, found 0"),
        ({"threads": "two"}, "threads should be a valid integer"),
        ({"max_exit": 3}, "unknown keyword of a search 'max_exit' (did you mean 'max_exits'?)"),
    ],
)
def test_wrong_keywords_are_one_sentence(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        exitsearch.search("published:mevit-gmacs", "published:mevit-cifar10", budget="uniform:10,80", **asked)
    assert words in str(caught.value)
