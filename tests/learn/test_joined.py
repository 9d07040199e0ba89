"""Outcomes of several trainings of one folder in one document."""

from __future__ import annotations

import pytest
from exitsearch.learn.joined import joined
from safetensors.torch import load_file
from small_data import RECIPE, small_backbone, small_digits

from exitsearch.learn.bank import train_bank
from exitsearch.learn.trainer import HeadTrainer
from exitsearch.specs.outcomes import Outcomes


def _outcomes(heads, score, final=0.9):
    return Outcomes.model_validate(
        {
            "schema_version": 1,
            "backbone": {"name": "toy"},
            "metric": "accuracy",
            "splits": {"choice": 3},
            "heads": [{"placement": p, "head": h, "scores": {"choice": score}} for p, h in heads],
            "final": {"scores": {"choice": final}},
        }
    )


def test_heads_of_both_in_order_of_placement_the_earlier_one_of_two():
    found = joined(_outcomes([(4, "a"), (1, "a")], 0.5), _outcomes([(1, "b"), (4, "a"), (0, "a")], 0.7, final=0.8))
    assert list(found.values().items()) == [((0, "a"), 0.7), ((1, "a"), 0.5), ((1, "b"), 0.7), ((4, "a"), 0.5)]
    assert found.final_value() == 0.8


def test_a_failure_leaves_the_answers_that_stand(tmp_path, monkeypatch):
    backbone = small_backbone()
    data = small_digits(backbone)
    train_bank(backbone, data, out=tmp_path, exits=[(1, "linear")], recipe=RECIPE)
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "training.json"]
    before = {path: path.read_bytes() for path in kept}
    answers = HeadTrainer.answers

    def broken(trainer, split):
        if split is data.report:
            raise KeyboardInterrupt
        return answers(trainer, split)

    monkeypatch.setattr(HeadTrainer, "answers", broken)
    with pytest.raises(KeyboardInterrupt):
        train_bank(backbone, data, out=tmp_path, exits=[(1, "mlp_ee")], recipe=RECIPE)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not (tmp_path / "answers.partial").exists()
    monkeypatch.undo()
    assert len(train_bank(backbone, data, out=tmp_path, exits=[(1, "mlp_ee")], recipe=RECIPE).heads) == 2
    assert set(load_file(tmp_path / "report.safetensors")) == {"labels", "final", "1/linear", "1/mlp_ee"}
