"""train_config: the chosen exits trained, written, and read back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_data import RECIPE, small_backbone, small_digits

from exitsearch.errors import MismatchError
from exitsearch.learn.bank.train import train_bank
from exitsearch.learn.train import train_config
from exitsearch.models.multi_exit import build_model, load_model
from exitsearch.specs.config import MultiExitConfig

EXITS = [(1, "mlp_ee"), (4, "linear")]


def _config(num_outputs=10):
    return MultiExitConfig.model_validate(
        {
            "schema_version": 1,
            "backbone": {"name": "vit_digits_patch1_8", "input_size": (1, 8, 8), "num_outputs": num_outputs},
            "exits": [{"placement": placement, "head": head} for placement, head in EXITS],
            "policy": "interruptible",
            "budget": "uniform:1,2",
            "expected": {"value": 0.5, "metric": "accuracy", "policy": "interruptible", "split": "choice"},
            "optimum": {"value": 0.5, "exact": True, "regret": 0.0},
            "latency_ms": [1.0, 2.0, 3.0],
            "profile": {},
            "outcomes": {},
        }
    )


@pytest.fixture(scope="module")
def data():
    torch.set_num_threads(1)
    return small_digits(small_backbone())


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    out = tmp_path_factory.mktemp("trained")
    return train_config(_config(), data=data, out=out, recipe=RECIPE, pretrained=False)


def _answers(model, split):
    with torch.no_grad():
        return [output.numpy() for output in model(split.prepare(split.images))]


def test_the_written_model_scores_what_is_reported(trained, data):
    model = load_model(trained.folder)
    for name in ("choice", "report"):
        split = data.split(name)
        labels = split.labels.numpy()
        found = [float((answers.argmax(1) == labels).mean()) for answers in _answers(model, split)]
        assert found == pytest.approx(trained.scores[name])


def test_chosen_exits_land_where_the_bank_left_them(trained, data, tmp_path):
    """The bank trains one head more, with another one's dropout in between; scores and answers are the same."""
    outcomes = train_bank(small_backbone(), data, out=tmp_path, exits=[*EXITS, (1, "linear")], recipe=RECIPE)
    scores = {(o.placement, o.head): o.scores for o in outcomes.heads}
    for split, found in trained.scores.items():
        assert found == [*(scores[exit_][split] for exit_ in EXITS), outcomes.final.scores[split]]
    from_bank = build_model(_config(), pretrained=False, weights=tmp_path)
    for a, b in zip(_answers(from_bank, data.choice), _answers(load_model(trained.folder), data.choice), strict=True):
        assert np.array_equal(a, b)


def test_a_backbone_in_memory_can_be_given(trained, data, tmp_path):
    result = train_config(_config(), data=data, out=tmp_path, recipe=RECIPE, backbone=small_backbone())
    assert result.scores == trained.scores


def test_outputs_come_from_the_data_where_the_config_leaves_them_open(data, tmp_path):
    result = train_config(_config(num_outputs=None), data=data, out=tmp_path, recipe=RECIPE, pretrained=False)
    assert load_model(result.folder).config.backbone.num_outputs == 10


def test_data_of_other_outputs_is_refused(data, tmp_path):
    with pytest.raises(MismatchError, match="for 3 outputs, the data has 10"):
        train_config(_config(num_outputs=3), data=data, out=tmp_path, recipe=RECIPE)


def test_heads_trained_over_other_weights_are_refused(data, tmp_path):
    train_bank(small_backbone(), data, out=tmp_path, exits=EXITS, recipe=RECIPE)
    with pytest.raises(MismatchError, match="trained over the backbone weights random:0, this model has random:1"):
        build_model(_config(), pretrained=False, seed=1, weights=tmp_path)
