"""The bank: what it writes, that heads do not see each other, and that a killed run ends the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_data import HEADS, PLACEMENTS, RECIPE, small_backbone, small_digits

from exitsearch.errors import ExitSearchError, InputError, MismatchError
from exitsearch.learn.bank import run
from exitsearch.learn.bank.train import train_bank, weights_digest
from exitsearch.specs.outcomes import Outcomes

FILES = ["1__mlp_ee", "1__linear", "4__mlp_ee", "4__linear", "final"]


def _train(out, *, backbone=None, task="classification", **options):
    backbone = backbone or small_backbone(task=task)
    options = {"heads": HEADS, "placements": PLACEMENTS, "recipe": RECIPE, **options}
    if "exits" in options:
        options.update(heads=None, placements=None)
    return train_bank(backbone, small_digits(backbone), out=out, **options)


def _weights(out):
    return {path.stem: load_file(path) for path in sorted((out / "heads").iterdir())}


def _answers(out, split):
    return {path.stem: load_file(path) for path in sorted((out / "answers" / split).iterdir())}


def _assert_same(first, second):
    assert first.keys() == second.keys()
    for name, state in first.items():
        assert state.keys() == second[name].keys()
        for key, tensor in state.items():
            assert torch.equal(tensor, second[name][key]), f"{name} {key}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One uninterrupted run."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole")
    _train(out)
    return out


def test_outcomes_hold_scores_and_answers(whole):
    outcomes = Outcomes.load(whole)
    assert [(o.placement, o.head) for o in outcomes.heads] == [(p, h) for p in PLACEMENTS for h in HEADS]
    assert outcomes.splits == {"choice": 30, "report": 30}
    assert (outcomes.metric, outcomes.fallback) == ("accuracy", 0.0)
    assert outcomes.training["recipe"] == "test"
    for split in outcomes.splits:
        samples = outcomes.samples(split)
        assert samples.final.shape == (30, 10)
        for outcome in outcomes.heads:
            answers = samples.outputs[outcome.placement, outcome.head]
            assert answers.shape == (30, 10)
            assert outcome.scores[split] == (answers.prediction == samples.labels).mean()
        assert outcomes.final.scores[split] == (samples.final.prediction == samples.labels).mean()


def test_only_finished_files_remain(whole):
    assert {path.name for path in whole.iterdir()} == {
        "outcomes.json",
        "answers",
        "training.json",
        "heads",
    }
    assert set(_weights(whole)) == set(FILES)
    assert {path.name for path in (whole / "answers").iterdir()} == {"choice", "report"}
    for split in ("choice", "report"):
        assert set(_answers(whole, split)) == {*FILES, "labels"}


def test_heads_learn_and_the_backbone_does_not(tmp_path):
    """Twenty epochs over 30 scans lower the loss, over features that stay as they are."""
    backbone = small_backbone()
    before = weights_digest(backbone)
    losses = []
    recipe = dataclasses.replace(RECIPE, epochs=20, learning_rate=1e-2)
    _train(
        tmp_path,
        backbone=backbone,
        recipe=recipe,
        exits=[(1, "linear")],
        progress=lambda share, words: losses.append(words),
    )
    assert weights_digest(backbone) == before
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    first, last = (float(losses[index].split("loss ")[1]) for index in (3, -1))
    assert last < first - 0.2


def test_an_interrupted_run_ends_bit_for_bit_the_same(whole, tmp_path):
    """Three steps an epoch: the fifth call comes in the second epoch, after one checkpoint."""
    calls = 0

    def interrupt(share, words):
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path, progress=interrupt)
    assert {path.stem for path in (tmp_path / "training").iterdir()} == set(FILES)
    assert not (tmp_path / "outcomes.json").exists()
    shares = []
    _train(tmp_path, progress=lambda share, words: shares.append(share))
    assert shares == [pytest.approx(step / 6) for step in (4, 5, 6)]
    _assert_same(_weights(whole), _weights(tmp_path))
    for split in ("choice", "report"):
        _assert_same(*(_answers(out, split) for out in (whole, tmp_path)))


def test_finished_outcomes_are_returned_without_work(whole):
    backbone = small_backbone()
    again = _train(whole, backbone=backbone, progress=lambda share, words: pytest.fail("trained again"))
    assert again.identity == Outcomes.load(whole).identity
    # The trained classifier is there all the same.
    assert torch.equal(backbone.module.head.weight, load_file(whole / "heads/final.safetensors")["head.weight"])


def test_a_head_trained_alone_ends_as_among_others(whole, tmp_path):
    _train(tmp_path, exits=[(4, "mlp_ee")])
    together, alone = _weights(whole), _weights(tmp_path)
    _assert_same(alone, {name: together[name] for name in ("4__mlp_ee", "final")})


def test_training_leaves_the_global_generator_alone(tmp_path):
    before = torch.random.get_rng_state()
    _train(tmp_path, exits=[(1, "mlp_ee")])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"seed": 1}, "seed"),
        ({"recipe": dataclasses.replace(RECIPE, epochs=3)}, "recipe"),
        ({"backbone": "other"}, "weights"),
    ],
)
def test_a_training_of_something_else_is_never_used(whole, changed, word):
    if "backbone" in changed:
        changed = {"backbone": small_backbone(seed=1)}
    with pytest.raises(MismatchError, match=rf"differs in {word}.*--restart"):
        _train(whole, **changed)


def test_fine_tuned_weights_of_the_same_name_are_noticed(whole):
    backbone = small_backbone()
    with torch.no_grad():
        backbone.module.blocks[3].mlp.fc1.bias[0] += 1
    with pytest.raises(MismatchError, match="differs in weights"):
        _train(whole, backbone=backbone)


def test_restart_throws_the_old_training_away(tmp_path):
    _train(tmp_path, exits=[(1, "linear")])
    (tmp_path / "notes.txt").write_text("mine")
    outcomes = _train(tmp_path, exits=[(4, "linear")], restart=True)
    assert [(o.placement, o.head) for o in outcomes.heads] == [(4, "linear")]
    assert set(_weights(tmp_path)) == {"4__linear", "final"}
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_foreign_outcomes_are_not_overwritten(tmp_path):
    (tmp_path / "outcomes.json").write_text("{}")
    with pytest.raises(MismatchError, match="not trained here"):
        _train(tmp_path)


def test_no_exits_give_the_final_exit_alone(tmp_path):
    outcomes = _train(tmp_path, exits=[])
    assert outcomes.heads == []
    assert set(_weights(tmp_path)) == {"final"}


def test_a_trained_final_exit_is_left_as_it_is(tmp_path):
    backbone = small_backbone()
    backbone.final_is_trained = True
    before = backbone.module.head.weight.clone()
    _train(tmp_path, backbone=backbone, exits=[(1, "linear")])
    assert torch.equal(backbone.module.head.weight, before)
    assert set(_weights(tmp_path)) == {"1__linear"}
    assert _train(tmp_path / "none", backbone=backbone, exits=[]).heads == []


def test_regression(tmp_path):
    """The fallback is the error of the training targets' median on the choice split."""
    outcomes = _train(tmp_path, task="regression", heads=["linear"], placements=[1])
    samples = outcomes.samples("choice")
    answers = samples.outputs[1, "linear"]
    assert answers.shape == (30, 1)
    assert outcomes.metric == "mae"
    assert outcomes.heads[0].scores["choice"] == pytest.approx(np.abs(answers[:, 0] - samples.labels).mean(), rel=1e-5)
    data = small_digits(small_backbone(task="regression"))
    median = np.median(data.heads.labels.numpy())
    assert outcomes.fallback == pytest.approx(np.abs(samples.labels - median).mean())


@pytest.fixture
def poisoned(monkeypatch):
    """Some heads begin with weights that are not numbers."""
    create, heads = run.create_head, {(4, "linear")}

    def made(head, **options):
        module = create(head, **options)
        if (options["placement"].index, head) in heads:
            with torch.no_grad():
                next(module.parameters()).fill_(float("nan"))
        return module

    monkeypatch.setattr(run, "create_head", made)
    return heads


REASON = "its loss became nan in epoch 1, step 1"


def test_a_head_whose_loss_is_not_finite_is_dropped_and_leaves_no_trace(whole, tmp_path, poisoned):
    notes = []
    outcomes = _train(tmp_path, note=notes.append)
    assert notes == [f"linear at placement 4 is dropped, the others are trained on: {REASON}"]
    assert [(d.placement, d.head, d.reason) for d in outcomes.dropped] == [(4, "linear", REASON)]
    assert (4, "linear") not in outcomes.values()
    kept = {name: state for name, state in _weights(whole).items() if name != "4__linear"}
    _assert_same(_weights(tmp_path), kept)
    for split in ("choice", "report"):
        mine, theirs = (
            {path.name: load_file(path) for path in (out / "answers" / split).iterdir()} for out in (tmp_path, whole)
        )
        assert theirs.pop("4__linear.safetensors") is not None
        _assert_same(mine, theirs)


def test_a_dropped_head_is_not_tried_again(tmp_path, poisoned):
    _train(tmp_path, note=lambda sentence: None)
    before = (tmp_path / "outcomes.json").read_bytes()
    again = _train(tmp_path, progress=lambda share, words: pytest.fail("trained again"), note=pytest.fail)
    assert [d.reason for d in again.dropped] == [REASON]
    assert (tmp_path / "outcomes.json").read_bytes() == before
    poisoned.clear()
    assert not _train(tmp_path, restart=True).dropped


def test_a_note_is_a_warning_where_nobody_listens(tmp_path, poisoned):
    with pytest.warns(UserWarning, match="linear at placement 4 is dropped"):
        _train(tmp_path)


def test_no_head_left_is_an_error_that_comes_again_without_work(tmp_path, poisoned):
    poisoned.add((1, "linear"))
    for options in ({"note": lambda sentence: None}, {"progress": lambda share, words: pytest.fail("trained again")}):
        with pytest.raises(ExitSearchError, match=f"no head is left: .*linear at placement 1 because {REASON}"):
            _train(tmp_path, heads=["linear"], **options)
    assert not (tmp_path / "outcomes.json").exists()
    # Others can still be asked for.
    outcomes = _train(tmp_path, heads=["mlp_ee"])
    assert (len(outcomes.heads), len(outcomes.dropped)) == (2, 2)


def test_a_head_that_answers_with_infinite_numbers_is_dropped(whole, tmp_path, monkeypatch):
    """Its loss was finite to the end, and its answers to one split are not."""
    stream = run.HeadTrainer.stream_answers

    def broken(trainer, split, **options):
        for block, key, outputs in stream(trainer, split, **options):
            yield block, key, outputs / 0 if key == "1/linear" else outputs

    monkeypatch.setattr(run.HeadTrainer, "stream_answers", broken)
    outcomes = _train(tmp_path, note=lambda sentence: None)
    reason = "it answers the choice split with numbers that are not finite"
    assert [(d.placement, d.head, d.reason) for d in outcomes.dropped] == [(1, "linear", reason)]
    assert not list((tmp_path / "answers").glob("*/1__linear*"))
    _assert_same(_weights(tmp_path), {name: state for name, state in _weights(whole).items() if name != "1__linear"})


def test_the_final_classifier_cannot_be_dropped(tmp_path, monkeypatch):
    draw = run._draw_final

    def poisoned(backbone, seed):
        draw(backbone, seed)
        with torch.no_grad():
            backbone.module.head.bias.fill_(float("inf"))

    monkeypatch.setattr(run, "_draw_final", poisoned)
    with pytest.raises(ExitSearchError, match="the final classifier cannot be trained: its loss became nan in epoch 1"):
        _train(tmp_path)


def test_early_stopping_ends_every_head_and_the_run(tmp_path):
    """With a rate of 0 no loss ever falls: best after epoch 1, stopped after two more, so 3 of 9 epochs of 3 steps."""
    recipe = dataclasses.replace(
        RECIPE, epochs=9, learning_rate=0.0, schedule="plateau", plateau_factor=0.6, stop_patience=2
    )
    calls = []
    _train(tmp_path, recipe=recipe, exits=[(1, "linear")], progress=lambda share, words: calls.append(words))
    assert len(calls) == 9


def test_a_bank_without_heads_is_refused(tmp_path):
    with pytest.raises(InputError, match="no head over vit_digits_patch1_8 was asked for"):
        _train(tmp_path, heads=[])
