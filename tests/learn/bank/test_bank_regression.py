"""The bank over regression targets of any scale: what is trained, what is written, and that it ends the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_data import RECIPE, small_backbone, small_digits
from torch import nn

from exitsearch.learn.bank import run
from exitsearch.learn.bank.identity import bank_identity
from exitsearch.learn.bank.train import train_bank
from exitsearch.learn.bank.trainer import FINAL, HeadTrainer
from exitsearch.learn.targets import TargetScale
from exitsearch.models.backbone import create_backbone
from exitsearch.models.heads import ExitHead, create_head, register_head, registry
from exitsearch.models.multi_exit import build_model, head_file
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.outcomes import Outcomes

EXITS = [(1, "linear"), (4, "mlp_ee"), (4, "test_says_nothing")]


class _SaysNothing(ExitHead):
    def __init__(self, placement, num_outputs):
        super().__init__(placement, num_outputs)
        self.fc = nn.Linear(placement.channels, num_outputs)

    def forward(self, features):
        return self.fc(features[:, 0])


@pytest.fixture(autouse=True, scope="module")
def _registered():
    """The head is known to these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
        register_head("test_says_nothing", description="a user's head that names no output layers")(_SaysNothing)
        yield


def _data(backbone, *, factor=1.0, shift=0.0):
    """Thirty digits of each split, with targets of another scale."""
    data = small_digits(backbone)
    for name in ("heads", "choice", "report"):
        split = data.split(name)
        split.labels = split.labels * factor + shift
    return dataclasses.replace(data, identity=f"{data.identity} {factor} {shift}")


def _train(out, *, factor=1.0, shift=0.0, **options):
    backbone = small_backbone(task="regression")
    options = {"exits": EXITS, "recipe": RECIPE, **options}
    return train_bank(backbone, _data(backbone, factor=factor, shift=shift), out=out, **options)


def _written(out):
    return {path.stem: load_file(path) for path in sorted((out / "heads").iterdir())}


def _assert_same(first, second):
    """Weights and answers, bit for bit."""
    assert _written(first).keys() == _written(second).keys()
    for name, state in _written(first).items():
        assert all(torch.equal(tensor, _written(second)[name][key]) for key, tensor in state.items()), name
    for split in ("choice", "report"):
        a, b = (Outcomes.load(out).samples(split) for out in (first, second))
        assert np.array_equal(a.final, b.final)
        assert all(np.array_equal(a.outputs[key], b.outputs[key]) for key in a.outputs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One uninterrupted run on digits times 20."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole")
    _train(out, factor=20)
    return out


@pytest.mark.parametrize(("factor", "shift"), [(0.001, 0.0), (1000.0, -5000.0)])
def test_the_scale_of_targets_does_not_matter(whole, tmp_path, factor, shift):
    """Answers to factor * target + shift are the same affine of the answers to the target."""
    plain = Outcomes.load(whole).samples("choice")
    scaled = _train(tmp_path, factor=20 * factor, shift=shift).samples("choice")
    # Targets of about 100 +- 50, and float32's seven digits of their largest.
    precision = 2e-3 * factor + 1e-6 * abs(shift)
    for key, answers in [*plain.outputs.items(), ("final", plain.final)]:
        other = scaled.final if key == "final" else scaled.outputs[key]
        np.testing.assert_allclose(other, answers * factor + shift, atol=3 * precision, rtol=0, err_msg=str(key))


def test_counts_are_learnt(tmp_path):
    """Digits times 20, learnt in 10 epochs to less than half of the constant's error on what was trained on."""
    backbone = create_backbone("vit_digits_patch1_8", num_outputs=1, task="regression", pretrained=True)
    data = _data(backbone, factor=20)
    data = dataclasses.replace(data, choice=data.heads)
    recipe = dataclasses.replace(RECIPE, epochs=10, learning_rate=1e-2)
    outcomes = train_bank(backbone, data, out=tmp_path, exits=[(8, "linear")], recipe=recipe)
    assert outcomes.fallback == pytest.approx(42, abs=0.1)
    assert outcomes.heads[0].scores["choice"] < outcomes.fallback / 2
    assert outcomes.final.scores["choice"] < outcomes.fallback / 2


def test_written_weights_answer_what_is_written(whole):
    """Heads read from their files, in the targets' own unit, with nothing else known."""
    backbone = small_backbone(task="regression")
    data = _data(backbone, factor=20)
    samples = Outcomes.load(whole).samples("report")
    with torch.inference_mode():
        states = list(backbone.states(data.report.batch(list(range(30)))[0]))
        for placement, name in EXITS:
            head = create_head(name, placement=backbone.placements[placement], num_outputs=1).eval()
            head.load_state_dict(load_file(whole / "heads" / head_file(placement, name)))
            found = head(states[placement][0]).numpy()
            np.testing.assert_allclose(found, samples.outputs[placement, name], rtol=1e-5, atol=1e-4)
    assert "output_scale.scale" in load_file(whole / "heads" / head_file(4, "test_says_nothing"))
    assert set(_written(whole)["1__linear"]) == {"norm.weight", "norm.bias", "fc.weight", "fc.bias"}


def test_a_model_takes_them(whole):
    """Heads, one with a scale behind it, and the final classifier."""
    facts = small_backbone(task="regression").facts
    document = {
        "schema_version": 1,
        "backbone": facts.model_dump(),
        "exits": [{"placement": 4, "head": "test_says_nothing"}],
        "policy": "interruptible",
        "budget": "point:1",
        "expected": {"value": -1.0, "metric": "mae", "policy": "interruptible", "split": "choice"},
        "optimum": {"value": -1.0, "exact": True, "regret": 0.0},
        "latency_ms": [1.0, 2.0],
        "profile": {},
        "outcomes": {},
    }
    model = build_model(MultiExitConfig.parse(document, "here"), pretrained=False, weights=whole)
    data, samples = _data(model.backbone, factor=20), Outcomes.load(whole).samples("choice")
    with torch.inference_mode():
        exit_, final = model(data.choice.batch(list(range(30)))[0])
    np.testing.assert_allclose(exit_.numpy(), samples.outputs[4, "test_says_nothing"], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(final.numpy(), samples.final, rtol=1e-5, atol=1e-4)
    # As `train` writes it and `load_model` reads it: the whole model's state, into a model without the scale.
    other = build_model(MultiExitConfig.parse(document, "here"), pretrained=False)
    other.load_state_dict(model.state_dict())
    with torch.inference_mode():
        assert torch.equal(other(data.choice.batch([0, 1])[0])[0], model(data.choice.batch([0, 1])[0])[0])


@pytest.mark.parametrize("calls", [2, 5])
def test_an_interrupted_run_ends_bit_for_bit_the_same(whole, tmp_path, calls):
    """Three steps an epoch: before the first checkpoint, and after it."""
    seen = []

    def interrupt(share, words):
        seen.append(share)
        if len(seen) == calls:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path, factor=20, progress=interrupt)
    _train(tmp_path, factor=20)
    _assert_same(whole, tmp_path)


def test_killed_between_folding_and_the_end_it_ends_the_same(whole, tmp_path, monkeypatch):
    """Folded weights are written, the record is not: the next run folds what the checkpoint holds, once."""
    with monkeypatch.context() as patch:
        patch.setattr(run, "document", lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            _train(tmp_path, factor=20)
    assert (tmp_path / "heads" / "1__linear.safetensors").exists()
    _train(tmp_path, factor=20)
    _assert_same(whole, tmp_path)


def test_stopped_early_and_gone_on_it_ends_the_same(whole, tmp_path):
    """Scores on the way are in the targets' own unit: of digits times 20, tens and not ones."""
    early = _train(tmp_path, factor=20, until=1)
    assert all(head.scores["choice"] > 20 for head in early.heads)
    _train(tmp_path, factor=20)
    _assert_same(whole, tmp_path)


def test_a_training_on_raw_targets_is_not_gone_on_with(whole, tmp_path):
    """The identity of a regression says how its targets are standardised; that of a classification is as it was."""
    backbone = small_backbone(task="regression")
    assert "targets" in bank_identity(backbone, _data(backbone), recipe=RECIPE, seed=0)
    backbone = small_backbone()
    assert "targets" not in bank_identity(backbone, small_digits(backbone), recipe=RECIPE, seed=0)


def test_flipped_training_images_change_what_is_learnt_and_not_who_is_beside(tmp_path):
    recipe = dataclasses.replace(RECIPE, augment=("flip",))
    for name, options in {
        "plain": {},
        "flipped": {"recipe": recipe},
        "alone": {"recipe": recipe, "exits": EXITS[:1]},
    }.items():
        _train(tmp_path / name, **options)
    plain, flipped, alone = (_written(tmp_path / name)["1__linear"] for name in ("plain", "flipped", "alone"))
    assert not torch.equal(plain["fc.weight"], flipped["fc.weight"])
    assert torch.equal(alone["fc.weight"], flipped["fc.weight"])


def test_a_classifier_without_a_bias_is_trained_on_raw_targets():
    """It has nowhere to put the median, so its answers are in the targets' own unit throughout."""
    backbone = small_backbone(task="regression")
    backbone.module.head.bias = None
    scale = TargetScale.of(torch.tensor([0.0, 100.0]))
    trainer = HeadTrainer(backbone, {}, RECIPE, 0, torch.device("cpu"), scale)
    assert [(trainee.key, trainee.scale) for trainee in trainer.trainees] == [(FINAL, None)]
