"""BankFolder: what stands, what is missing, and what may not be mixed."""

from __future__ import annotations

import pytest

from exitsearch.errors import ExitSearchError, MismatchError
from exitsearch.learn.bank.folder import BankFolder, check_some_left, with_dropped
from exitsearch.specs.outcomes import Outcomes

DOCUMENT = {
    "schema_version": 1,
    "backbone": {"name": "toy"},
    "metric": "accuracy",
    "splits": {"choice": 3},
    "heads": [{"placement": 1, "head": "linear", "scores": {"choice": 0.5}}],
    "final": {"scores": {"choice": 0.5}},
}
PAIRS = [(4, "linear"), (1, "linear"), (1, "mlp")]


@pytest.fixture
def folder(tmp_path):
    return BankFolder(tmp_path, {"seed": 0})


def test_an_empty_folder_misses_all(folder):
    assert folder.missing(PAIRS, folder.record()) == PAIRS


def test_what_stands_or_was_dropped_is_not_missing(folder):
    Outcomes.model_validate(DOCUMENT).write(folder.path / "outcomes.json")
    with pytest.raises(MismatchError, match="not trained here"):
        folder.record()
    folder.write(BankFolder(folder.path / "new", {"seed": 0}).record(), heads=["1/linear"], dropped={"1/mlp": "why"})
    assert folder.missing(PAIRS, folder.record()) == [(4, "linear")]
    with pytest.raises(MismatchError, match="differs in seed: there 0, asked for 1"):
        BankFolder(folder.path, {"seed": 1}).record()


def test_heads_whose_outcomes_are_lost_are_trained_again(folder):
    folder.write(folder.record(), heads=["1/linear"], finished=True)
    assert folder.missing([(1, "linear")], folder.record()) == [(1, "linear")]


def test_only_what_training_wrote_is_cleared(folder):
    mine = ["outcomes.json", "training.json", "choice.safetensors", "report.safetensors", "outcomes-2.json"]
    mine += ["heads/1__linear.safetensors", "training/1__linear.safetensors", "training-1.safetensors"]
    mine += ["heads/.1__linear.safetensors.7.partial"]
    for name in [*mine, "notes.txt", "heads/notes.txt"]:
        (folder.path / name).parent.mkdir(exist_ok=True)
        (folder.path / name).write_text("")
    folder.clear()
    left = {str(path.relative_to(folder.path)) for path in folder.path.rglob("*") if path.is_file()}
    assert left == {"notes.txt", "heads/notes.txt"}


def test_no_head_left_is_refused_only_where_heads_were_asked_for():
    dropped = {"1/linear": "its loss became nan"}
    with pytest.raises(ExitSearchError, match="the first of them linear at placement 1 because its loss became nan"):
        check_some_left([(1, "linear")], ["final"], dropped)
    check_some_left([(1, "linear")], ["4/linear", "final"], dropped)
    check_some_left([], ["final"], dropped)


def test_dropped_heads_are_named_and_outcomes_without_any_keep_their_identity():
    plain = Outcomes.model_validate(DOCUMENT)
    assert "dropped" not in plain.model_dump(mode="json")
    assert with_dropped(plain, {}).identity == plain.identity
    found = with_dropped(plain, {"4/a(b=c/d)": "why", "0/linear": "so"})
    assert [(d.placement, d.head, d.reason) for d in found.dropped] == [(0, "linear", "so"), (4, "a(b=c/d)", "why")]
    assert Outcomes.model_validate(found.model_dump(mode="json")) == found
    assert found.identity != plain.identity
