"""trained_outcomes: scores and answers of a trained model, and what says that its backbone has moved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_data import RECIPE, small_backbone, small_digits

from exitsearch.errors import ExitSearchError, MismatchError, UnsupportedError
from exitsearch.learn import trained as trained_module
from exitsearch.learn.bank.identity import weights_digest
from exitsearch.learn.trained import moved_backbone, trained_outcomes
from exitsearch.models.multi_exit import attach_exits, build_model
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.outcomes import Outcomes

EXITS = [(1, "mlp_ee"), (4, "linear")]


def small_config(*, task="classification", exits=EXITS):
    outputs = 1 if task == "regression" else 10
    return MultiExitConfig.model_validate(
        {
            "schema_version": 1,
            "backbone": {
                "name": "vit_digits_patch1_8",
                "input_size": (1, 8, 8),
                "num_outputs": outputs,
                "task": task,
            },
            "exits": [{"placement": placement, "head": head} for placement, head in exits],
            "policy": "interruptible",
            "budget": "uniform:1,2",
            "expected": {"value": 0.5, "metric": "accuracy", "policy": "interruptible", "split": "choice"},
            "optimum": {"value": 0.5, "exact": True, "regret": 0.0},
            "latency_ms": [1.0 + number for number in range(len(exits) + 1)],
            "profile": {},
            "outcomes": {},
        }
    )


def trained_model(data, *, task="classification", parts="all", steps=3):
    """A model after a few steps of plain torch, of all its weights or of its heads alone; in training mode."""
    model = attach_exits(small_backbone(task=task), config=small_config(task=task))
    parameters = model.parameters() if parts == "all" else model.heads.parameters()
    optimizer = torch.optim.SGD(list(parameters), lr=0.05)
    for step in range(steps):
        images, labels = data.heads.batch(list(range(10 * step, 10 * step + 10)))
        optimizer.zero_grad()
        if task == "regression":
            sum((out[:, 0] - labels).abs().mean() for out in model(images)).backward()
        else:
            sum(F.cross_entropy(out, labels) for out in model(images)).backward()
        optimizer.step()
    return model


@pytest.fixture(scope="module", params=["classification", "regression"])
def task(request):
    return request.param


@pytest.fixture(scope="module")
def data(task):
    torch.set_num_threads(1)
    return small_digits(small_backbone(task=task))


def test_scores_are_those_of_a_plain_loop(task, data, tmp_path):
    model = trained_model(data, task=task)
    outcomes = trained_outcomes(model, data, out=tmp_path)
    assert [(head.placement, head.head) for head in outcomes.heads] == EXITS
    for name in ("choice", "report"):
        split = data.split(name)
        images, labels = split.batch(list(range(len(split))))
        with torch.no_grad():
            answers = [out.numpy() for out in model.eval()(images)]
        if task == "regression":
            found = [float(np.abs(out[:, 0].astype(float) - labels.numpy()).mean()) for out in answers]
        else:
            found = [float((out.argmax(1) == labels.numpy()).mean()) for out in answers]
        written = [*(head.scores[name] for head in outcomes.heads), outcomes.final.scores[name]]
        assert written == pytest.approx(found, abs=1e-6)
        samples = outcomes.samples(name)
        for key, out in zip([*EXITS, None], answers, strict=True):
            kept = samples.final if key is None else samples.outputs[key]
            assert np.array_equal(kept.argmax(1), out.argmax(1)) if task == "classification" else True
        assert np.array_equal(samples.labels, labels.numpy())
    Outcomes.load(tmp_path / "outcomes").check_samples()


def test_what_is_written_says_that_the_backbone_has_moved(task, data, tmp_path):
    """Nobody takes its heads for those of the frozen backbone: `build_model` refuses them, digests tell two apart."""
    model = trained_model(data, task=task)
    start = weights_digest(small_backbone(task=task))
    facts = {"recipe": "joint", "epochs": 3, "seed": 7}
    outcomes = trained_outcomes(model, data, out=tmp_path, recipe_facts=facts, start=start)
    assert moved_backbone(outcomes)
    assert outcomes.training["weights"] == f"trained:{weights_digest(model.backbone)}"
    assert outcomes.training["data"] == f"{data.name} {data.identity}"
    assert {key: outcomes.training[key] for key in facts} == facts
    with pytest.raises(MismatchError, match="trained over the backbone weights trained:"):
        build_model(small_config(task=task), pretrained=False, weights=tmp_path / "outcomes")
    other = trained_outcomes(trained_model(data, task=task, steps=2), data, out=tmp_path / "other", start=start)
    assert other.training["weights"] != outcomes.training["weights"]


def test_a_backbone_that_has_not_moved_keeps_its_name(data, task, tmp_path):
    model = trained_model(data, task=task, parts="heads")
    start = weights_digest(small_backbone(task=task))
    outcomes = trained_outcomes(model, data, out=tmp_path, start=start)
    assert not moved_backbone(outcomes)
    assert outcomes.training["weights"] == model.backbone.weights == "random:0"
    # So its heads may be taken wherever that backbone is.
    again = build_model(small_config(task=task), pretrained=False, weights=tmp_path / "outcomes")
    images, _ = data.choice.batch([0, 1, 2])
    for a, b in zip(model.eval()(images), again(images), strict=True):
        assert torch.equal(a, b)
    # Where nobody says what it was before, it is taken for another one.
    assert moved_backbone(trained_outcomes(model, data, out=tmp_path))


def test_the_model_is_left_as_it_is(data, task, tmp_path):
    model = trained_model(data, task=task).train()
    model.heads[0].requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    learn = [parameter.requires_grad for parameter in model.parameters()]
    trained_outcomes(model, data, out=tmp_path)
    assert all(module.training for module in model.modules())
    assert [parameter.requires_grad for parameter in model.parameters()] == learn
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_an_earlier_folder_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    data = small_digits(small_backbone())
    first = trained_outcomes(trained_model(data), data, out=tmp_path)

    def fails(*_, **__):
        raise ExitSearchError("killed")

    monkeypatch.setattr(trained_module, "write_weights", fails)
    with pytest.raises(ExitSearchError, match="killed"):
        trained_outcomes(trained_model(data, steps=1), data, out=tmp_path)
    assert Outcomes.load(tmp_path / "outcomes").identity == first.identity
    assert [path.name for path in tmp_path.iterdir()] == ["outcomes"]
    monkeypatch.undo()
    second = trained_outcomes(trained_model(data, steps=1), data, out=tmp_path)
    assert second.training["weights"] != first.training["weights"]
    assert [path.name for path in tmp_path.iterdir()] == ["outcomes"]


def test_memory_does_not_grow_with_the_samples(tmp_path, monkeypatch):
    """Answers are asked for block by block, and no more than one head's answers to a block are handed over at once."""
    data = small_digits(small_backbone(), count=300)
    blocks = []
    stream = trained_module.HeadTrainer.stream_answers

    def watched(self, split, **options):
        for block, key, outputs in stream(self, split, **options):
            blocks.append(len(outputs))
            yield block, key, outputs

    monkeypatch.setattr(trained_module.HeadTrainer, "stream_answers", watched)
    monkeypatch.setattr(trained_module, "get_head_recipe", lambda _: RECIPE)
    trained_outcomes(trained_model(data), data, out=tmp_path)
    assert max(blocks) <= 4 * RECIPE.batch_size < 300


def test_answers_that_are_not_finite_are_said(tmp_path):
    data = small_digits(small_backbone())
    model = trained_model(data)
    with torch.no_grad():
        next(model.heads[1].parameters()).fill_(float("nan"))
    with pytest.raises(ExitSearchError, match=r"linear at placement 4 was dropped.*lower learning rate"):
        trained_outcomes(model, data, out=tmp_path)
    assert not (tmp_path / "outcomes").exists()


def test_data_of_another_task_are_refused(tmp_path):
    data = small_digits(small_backbone(task="regression"))
    with pytest.raises(UnsupportedError, match="needs 1 outputs"):
        trained_outcomes(trained_model(small_digits(small_backbone())), data, out=tmp_path)
