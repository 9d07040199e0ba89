"""Plateaus and early stopping by hand."""

from __future__ import annotations

import pytest
from torch import nn

from exitsearch.learn.bank.recipe import HEAD_RECIPES
from exitsearch.learn.bank.trainee import Trainee


def _trainee(key="3/vit_ee"):
    return Trainee(key, 3, nn.Identity(), lambda state, side: state[0])


def test_rate_falls_on_a_plateau_of_two_and_training_stops_after_five():
    """Best at epoch 2. Two more without a fall: x0.6, and after another two: x0.36. The fifth one stops."""
    trainee, recipe = _trainee(), HEAD_RECIPES["mevit"]
    seen = []
    for loss in (2.0, 1.0, 1.0, 1.5, 1.1, 1.0, 1.2):
        trainee.learn_from(loss, recipe)
        seen.append((round(trainee.factor, 4), trainee.stopped))
    assert seen == [
        (1.0, False),
        (1.0, False),
        (1.0, False),
        (0.6, False),
        (0.6, False),
        (0.36, False),
        (0.36, True),
    ]


def test_a_lower_loss_starts_the_waiting_anew():
    trainee, recipe = _trainee(), HEAD_RECIPES["mevit"]
    for loss in (1.0, 1.1, 0.9, 1.0):
        trainee.learn_from(loss, recipe)
    assert (trainee.factor, trainee.waited, trainee.best) == (1.0, 1, 0.9)


def test_progress_survives_a_checkpoint():
    trainee, other = _trainee(), _trainee()
    trainee.learn_from(1.0, HEAD_RECIPES["mevit"])
    trainee.learn_from(2.0, HEAD_RECIPES["mevit"])
    other.restore(trainee.progress)
    assert other.progress == trainee.progress != _trainee().progress


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("3/vit_ee", "vit_ee at placement 3"),
        ("final", "the final classifier"),
        ("0/a(b=x/y)", "a(b=x/y) at placement 0"),
    ],
)
def test_messages_name_the_head(key, words):
    assert _trainee(key).words == words
