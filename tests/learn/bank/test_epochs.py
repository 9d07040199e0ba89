"""Epoch by epoch: what is saved when, plateaus by hand, and heads whose loss on the choice split is not finite."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_data import RECIPE, small_backbone, small_digits

from exitsearch.learn.bank.epochs import at_end, train_epochs, without_dropped
from exitsearch.learn.bank.trainee import NotFiniteError
from exitsearch.learn.bank.trainer import HeadTrainer
from exitsearch.models.heads import create_head

PLATEAU = dataclasses.replace(RECIPE, schedule="plateau", learning_rate=1e-3, plateau_factor=0.5, plateau_patience=1)


def _trainer(recipe=RECIPE):
    backbone = small_backbone()
    backbone.final_is_trained = True
    heads = {
        (1, head): create_head(head, placement=backbone.placements[1], num_outputs=10, seed=0)
        for head in ("linear", "mlp_ee")
    }
    return HeadTrainer(backbone, heads, recipe, 0, torch.device("cpu")), small_digits(backbone)


@pytest.mark.parametrize(("minutes", "expected"), [(60, [1, 2]), (0, [0, 0, 1, 1, 1, 2])])
def test_it_is_saved_at_the_end_of_epochs_and_by_the_clock(minutes, expected):
    """Three steps an epoch, two epochs; told are the epochs that are behind."""
    trainer, data = _trainer()
    saved = []
    train_epochs(trainer, data, save=saved.append, checkpoint_minutes=minutes)
    assert saved == expected
    assert all(at_end(trainer, trainee, data) for trainee in trainer.trainees)


def test_it_stops_at_an_epoch_and_goes_on():
    trainer, data = _trainer()
    train_epochs(trainer, data, save=lambda epoch: None, until=1)
    assert [trainee.steps for trainee in trainer.trainees] == [3, 3]
    assert not any(at_end(trainer, trainee, data) for trainee in trainer.trainees)
    words = []
    train_epochs(trainer, data, save=lambda epoch: None, progress=lambda share, said: words.append(said))
    assert words == ["epoch 2/2"] * 3


def test_a_head_is_looked_at_once_an_epoch(monkeypatch):
    """The first head stands at the end of an epoch already, as a checkpoint has it: it was looked at then."""
    trainer, data = _trainer(PLATEAU)
    trainer.trainees[0].steps, trainer.trainees[0].best = 3, 0.0
    train_epochs(trainer, data, save=lambda epoch: None, until=1)
    assert (trainer.trainees[0].best, trainer.trainees[0].waited) == (0.0, 0)
    assert trainer.trainees[1].best > 0


def test_a_loss_on_the_choice_split_that_is_not_finite_drops_the_head(monkeypatch):
    trainer, data = _trainer(PLATEAU)
    found = dict(zip([trainee.key for trainee in trainer.trainees], [float("nan"), 1.0, 1.0], strict=False))
    monkeypatch.setattr(trainer, "losses", lambda split: found)
    train_epochs(trainer, data, save=lambda epoch: None, until=1)
    assert trainer.trainees[0].dropped == "its loss on the choice split became nan after epoch 1"
    assert (trainer.trainees[1].dropped, trainer.trainees[1].best) == (None, 1.0)


def test_answers_are_asked_for_again_without_those_that_are_dropped():
    trainer, _ = _trainer()
    asked = []

    def answer():
        asked.append(list(trainer.heads))
        if (1, "linear") in trainer.heads:
            raise NotFiniteError("", key="1/linear")
        return "answers"

    assert without_dropped(trainer, answer) == "answers"
    assert asked == [[(1, "linear"), (1, "mlp_ee")], [(1, "mlp_ee")]]


@pytest.mark.parametrize("key", ["final", "3/linear"])
def test_whom_nobody_can_drop_ends_the_run(key):
    trainer, _ = _trainer()

    def answer():
        raise NotFiniteError("the words", key=key)

    with pytest.raises(NotFiniteError, match="the words"):
        without_dropped(trainer, answer)
