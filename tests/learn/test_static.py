"""Static models: the loop learns, repeats itself, and answers in the targets' own unit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_data import small_digits
from torch import nn

from exitsearch.errors import ExitSearchError, InputError, UnsupportedError
from exitsearch.learn.static import FRESH_RATE, TRAINED_RATE, StaticTraining, static_scores, train_static
from exitsearch.models.backbone import create_backbone


def tiny(*, task="classification"):
    """One convolution on digits, quick to train: the loop does not care."""
    torch.manual_seed(0)
    outputs = 1 if task == "regression" else 10
    convolution = nn.Conv2d(1, 8, 3, padding=1)
    module = nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(512, outputs))
    return create_backbone(module, placements=["1"], example_input=torch.zeros(1, 1, 8, 8), task=task)


QUICK = StaticTraining(epochs=3, batch_size=10, learning_rate=3e-3)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_it_learns_what_it_is_shown(task):
    """Thirty digits, seen 40 times: the loss on them falls well below that of the best constant answer."""
    torch.set_num_threads(1)
    model = tiny(task=task)
    data = small_digits(model)
    train_static(model, data, training=StaticTraining(epochs=40, batch_size=10, learning_rate=1e-2))
    images, labels = data.heads.batch(list(range(30)))
    with torch.no_grad():
        answers = model(images)
    if task == "classification":
        assert float((answers.argmax(1) == labels).double().mean()) > 0.9
    else:
        constant = np.abs(labels.numpy() - np.median(labels.numpy())).mean()
        assert float((answers[:, 0] - labels).abs().mean()) < 0.5 * constant
    assert model.final_is_trained
    assert not any(module.training for module in model.modules())


def test_the_same_seed_ends_bit_for_bit_the_same():
    found = []
    for seed in (0, 0, 1):
        model = tiny()
        train_static(model, small_digits(model), training=StaticTraining(epochs=1, batch_size=10, seed=seed))
        found.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_scores_are_those_of_a_plain_loop():
    model = tiny()
    data = small_digits(model)
    train_static(model, data, training=QUICK)
    learn = [parameter.requires_grad for parameter in model.parameters()]
    found = static_scores(model, data)
    for name in ("choice", "report"):
        images, labels = data.split(name).batch(list(range(30)))
        with torch.no_grad():
            assert found[name] == pytest.approx(float((model(images).argmax(1) == labels).double().mean()))
    assert [parameter.requires_grad for parameter in model.parameters()] == learn


def test_the_rate_by_hand():
    """Of 100 steps 5 warm up: 1/5 of the peak first, the whole at the fifth and sixth, half halfway, 0 at the end."""
    training = StaticTraining(epochs=1)
    rates = [training.rate(step, 100, weights="random:0") / FRESH_RATE for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[4] == rates[5] == pytest.approx(1.0)
    assert rates[52] > 0.5 > rates[53]
    assert rates[100] == pytest.approx(0.0)
    assert training.rate(5, 100, weights="pretrained:x") == TRAINED_RATE
    assert StaticTraining(epochs=1, learning_rate=0.5).rate(5, 100, weights="pretrained:x") == 0.5


def test_wrong_input_is_said():
    for wrong in ({"epochs": 0}, {"epochs": 1, "batch_size": 1}, {"epochs": 1, "learning_rate": 0.0}):
        with pytest.raises(InputError, match="a static model is trained for at least 1 epoch"):
            StaticTraining(**wrong)
    model = tiny()
    with pytest.raises(UnsupportedError, match="needs 1 outputs"):
        train_static(model, small_digits(tiny(task="regression")), training=QUICK)
    with pytest.raises(ExitSearchError, match=r"the loss of Sequential became \w+ in epoch \d"):
        train_static(model, small_digits(model), training=StaticTraining(epochs=3, batch_size=10, learning_rate=1e30))
