"""A head is a unit of its own: added later, kept as it is, resumed at its own step, and always with the same end."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_data import RECIPE, small_backbone, small_digits

from exitsearch.errors import InputError, MismatchError
from exitsearch.learn.bank.identity import bank_identity
from exitsearch.learn.bank.processes import Processes
from exitsearch.learn.bank.train import train_bank
from exitsearch.learn.bank.trainer import HeadTrainer
from exitsearch.models.heads import create_head
from exitsearch.models.multi_exit import head_file, load_final, load_state
from exitsearch.specs.outcomes import Outcomes

FIRST, SECOND = [(1, "linear"), (4, "mlp_ee")], [(1, "mlp_ee"), (4, "linear")]
ALL = [*FIRST, *SECOND]
# Two heads with dropout or without, whose rates fall and which stop at different epochs.
PLATEAU = dataclasses.replace(
    RECIPE, epochs=6, learning_rate=3e-2, schedule="plateau", plateau_factor=0.6, plateau_patience=1, stop_patience=2
)


class _StopError(Exception):
    pass


def _train(out, exits, *, backbone=None, data=None, **options):
    backbone = backbone or small_backbone()
    return train_bank(backbone, data or small_digits(backbone), out=out, exits=exits, **{"recipe": RECIPE, **options})


def _stop_at(step):
    """A progress that ends the run after so many steps."""
    calls = []

    def progress(share, words):
        calls.append(share)
        if len(calls) == step:
            raise _StopError

    return progress


def _interrupted(out, exits, step, **options):
    with pytest.raises(_StopError):
        _train(out, exits, progress=_stop_at(step), **options)


def _assert_same(mine, theirs):
    """Weights and answers of two folders, bit for bit."""
    assert {path.name for path in (mine / "heads").iterdir()} == {path.name for path in (theirs / "heads").iterdir()}
    files = [path.relative_to(theirs) for path in (theirs / "heads").iterdir()]
    files += [path.relative_to(theirs) for path in theirs.glob("*.safetensors")]
    for file in files:
        a, b = load_file(mine / file), load_file(theirs / file)
        assert a.keys() == b.keys(), file
        assert all(torch.equal(a[key], b[key]) for key in b), file
    assert Outcomes.load(mine).values() == Outcomes.load(theirs).values()
    assert not (mine / "training").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All heads in one uninterrupted run."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole")
    _train(out, ALL)
    return out


@pytest.fixture(scope="module")
def plateau(tmp_path_factory):
    """The same with rates that fall, and early stopping."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("plateau")
    _train(out, ALL, recipe=PLATEAU)
    return out


def test_heads_added_later_join_those_that_stand(whole, tmp_path):
    _train(tmp_path, FIRST)
    kept = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "heads").iterdir()}
    outcomes = _train(tmp_path, SECOND)
    assert set(outcomes.values()) == set(ALL)
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in kept} == kept
    _assert_same(tmp_path, whole)


def test_a_head_alone_ends_as_beside_others_on_a_plateau(plateau, tmp_path):
    for exit_ in ALL:
        _train(tmp_path, [exit_], recipe=PLATEAU)
    _assert_same(tmp_path, plateau)


def test_heads_that_stand_are_returned_without_work(whole):
    fail = {"progress": lambda share, words: pytest.fail("trained again")}
    before = (whole / "outcomes.json").read_bytes()
    # Those that were not asked for this time are there too.
    assert set(_train(whole, FIRST[:1], **fail).values()) == set(ALL)
    assert set(_train(whole, [], **fail).values()) == set(ALL)
    assert (whole / "outcomes.json").read_bytes() == before


def test_another_backbone_data_recipe_or_seed_is_refused_whichever_heads(whole):
    with pytest.raises(MismatchError, match="differs in seed"):
        _train(whole, [(2, "linear")], seed=1)
    backbone = small_backbone()
    with pytest.raises(MismatchError, match="differs in data"):
        _train(whole, [(2, "linear")], backbone=backbone, data=small_digits(backbone, count=20))


def test_a_bank_of_an_earlier_version_stands(whole, tmp_path):
    """As it wrote training.json: the heads in the identity, and nothing of each; raw outputs in one file a split."""
    for path in (whole / "outcomes.json", *(whole / "heads").iterdir()):
        copy = tmp_path / path.relative_to(whole)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    backbone = small_backbone()
    data = small_digits(backbone)
    identity = bank_identity(backbone, data, recipe=RECIPE, seed=0)
    _write_raw_outputs(tmp_path, backbone, data)
    record = {
        "schema_version": 1,
        "identity_of": {**identity, "heads": sorted(f"{placement}/{head}" for placement, head in ALL)},
        "epoch": 2,
        "finished": True,
        "tensors": None,
        "progress": {},
    }
    (tmp_path / "training.json").write_text(json.dumps(record))
    before = (tmp_path / "outcomes.json").read_bytes()
    _train(tmp_path, FIRST, progress=lambda share, words: pytest.fail("trained again"))
    assert (tmp_path / "outcomes.json").read_bytes() == before
    more = _train(tmp_path, [(2, "linear")])
    assert set(more.values()) == {*ALL, (2, "linear")}
    assert not list(tmp_path.glob("*.safetensors"))
    for split in ("choice", "report"):
        mine, theirs = more.samples(split), Outcomes.load(whole).samples(split)
        for exit_ in ALL:
            assert mine.outputs[exit_].temperature == pytest.approx(theirs.outputs[exit_].temperature)
            assert np.array_equal(mine.outputs[exit_].prediction, theirs.outputs[exit_].prediction)
            assert mine.outputs[exit_].confidence == pytest.approx(theirs.outputs[exit_].confidence)


def _write_raw_outputs(out, backbone, data):
    """The answers of the heads in a folder, in the older layout."""
    heads = {}
    if not backbone.final_is_trained:
        load_final(backbone, out)
    for placement, head in ALL:
        heads[placement, head] = create_head(head, placement=backbone.placements[placement], num_outputs=10)
        load_state(heads[placement, head], out / "heads" / head_file(placement, head))
    trainer = HeadTrainer(backbone, heads, RECIPE, 0, torch.device("cpu"))
    for split in ("choice", "report"):
        found = {}
        for _, key, outputs in trainer.stream_answers(data.split(split)):
            found.setdefault(key, []).append(outputs)
        labels = data.split(split).labels
        save_file(
            {**{key: torch.cat(parts) for key, parts in found.items()}, "labels": labels}, out / f"{split}.safetensors"
        )


def test_an_unfinished_bank_of_an_earlier_version_is_trained_anew(whole, tmp_path):
    backbone = small_backbone()
    identity = bank_identity(backbone, small_digits(backbone), recipe=RECIPE, seed=0)
    heads = sorted(f"{placement}/{head}" for placement, head in ALL)
    record = {"schema_version": 1, "identity_of": {**identity, "heads": heads}, "epoch": 1, "finished": False}
    record |= {"tensors": "training-1.safetensors", "progress": {key: {} for key in heads}}
    (tmp_path / "training.json").write_text(json.dumps(record))
    (tmp_path / "training-1.safetensors").write_bytes(b"of another form")
    _train(tmp_path, ALL)
    _assert_same(tmp_path, whole)
    assert not list(tmp_path.glob("training-*"))


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
def test_a_run_goes_on_from_the_middle_of_an_epoch(whole, tmp_path, step):
    """Three steps an epoch, kept after every one but the last, which is kept once plateaus have been looked for."""
    _interrupted(tmp_path, ALL, step, checkpoint_minutes=0)
    shares = []
    _train(tmp_path, ALL, progress=lambda share, words: shares.append(share))
    kept = step - 1 if step == 3 else step
    assert shares == [pytest.approx(number / 6) for number in range(kept + 1, 7)]
    _assert_same(tmp_path, whole)


def test_nothing_is_kept_within_an_epoch_before_the_minutes_are_over(whole, tmp_path):
    _interrupted(tmp_path, ALL, 2)
    shares = []
    _train(tmp_path, ALL, progress=lambda share, words: shares.append(share))
    assert len(shares) == 6
    _assert_same(tmp_path, whole)


@pytest.mark.parametrize("recipe", [RECIPE, PLATEAU], ids=["one_cycle", "plateau"])
def test_heads_that_are_further_wait_for_the_others(whole, plateau, tmp_path, recipe):
    """The first two stand in the middle of an epoch when the others begin; all go through the rest together."""
    expected = whole if recipe is RECIPE else plateau
    _interrupted(tmp_path, FIRST, 5, recipe=recipe, checkpoint_minutes=0)
    shares = []
    _train(tmp_path, ALL, recipe=recipe, progress=lambda share, words: shares.append(share))
    assert shares[0] == pytest.approx(1 / (3 * recipe.epochs))
    _assert_same(tmp_path, expected)


def test_heads_left_in_training_go_on_when_they_are_asked_for_again(whole, tmp_path):
    """Interrupted after an epoch; then others are asked for, and finished; then the first ones go on."""
    _interrupted(tmp_path, FIRST, 4)
    _train(tmp_path, SECOND)
    assert {path.stem for path in (tmp_path / "training").iterdir()} == {"1__linear", "4__mlp_ee"}
    shares = []
    _train(tmp_path, FIRST, progress=lambda share, words: shares.append(share))
    assert len(shares) == 3
    _assert_same(tmp_path, whole)


def test_an_early_look_takes_more_heads_later(tmp_path, whole):
    early = _train(tmp_path, FIRST, until=1)
    more = _train(tmp_path, ALL, until=1)
    assert set(more.values()) == set(ALL)
    assert {pair: more.values()[pair] for pair in FIRST} == early.values()
    assert _train(tmp_path, SECOND, until=1) == more
    _train(tmp_path, ALL)
    _assert_same(tmp_path, whole)
    # What has been seen early stays; of a new head there is an early look, of those that stand there is the end.
    added = _train(tmp_path, [(2, "linear"), *FIRST], until=1)
    assert set(added.values()) == {*ALL, (2, "linear")}
    assert {pair: added.values()[pair] for pair in ALL} == more.values()


def test_an_early_look_at_the_end_is_the_end(tmp_path, whole):
    _train(tmp_path, ALL, until=1)
    _train(tmp_path, ALL, until=RECIPE.epochs)
    _assert_same(tmp_path, whole)


@pytest.mark.parametrize("exit_", [(1, "no_such_head"), (99, "linear"), (-1, "linear")])
def test_a_head_that_cannot_be_leaves_no_trace(tmp_path, exit_):
    with pytest.raises(InputError):
        _train(tmp_path, [*FIRST, exit_])
    assert not list(tmp_path.iterdir())


def test_a_number_out_of_range_is_refused(tmp_path):
    with pytest.raises(InputError, match="checkpoint_minutes must be at least 0, found -1"):
        _train(tmp_path, FIRST, checkpoint_minutes=-1)
    with pytest.raises(InputError, match="for one process, found 2"):
        _train(tmp_path, FIRST, until=1, processes=Processes(rank=0, count=2))
