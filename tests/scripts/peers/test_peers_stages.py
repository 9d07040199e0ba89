"""A backbone cut into stages: the same outputs, with earlyon where it is installed and without."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from export_models import family_model
from peers.asking import Reply
from peers.settings import Setting, Settings, StageTimes, forced
from peers.stages import OnnxStages, Staged, Stages, TorchStages, _OneTensor, sequential, staged

from exitsearch.errors import UnsupportedError
from exitsearch.runtime.deadline import Times

needs_earlyon = pytest.mark.skipif(
    importlib.util.find_spec("earlyon") is None, reason="earlyon is not installed: pip install earlyon"
)


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return family_model("vit", exits=((0, "linear"), (1, "linear")))


def test_a_sequence_of_parts_is_the_backbone(model):
    x = model.backbone.example_input(2)
    with torch.inference_mode():
        cut = sequential(model)(x)
        assert torch.allclose(cut, model.backbone(x), atol=1e-6)
    assert [name for name, _ in sequential(model).named_children()] == ["part0", "part1", "part2"]


def test_several_tensors_between_parts_are_refused():
    class Two(torch.nn.Module):
        def forward(self, x):
            return x, x

    with pytest.raises(UnsupportedError, match="earlyon hands one tensor from stage to stage, this backbone 2"):
        _OneTensor(Two())(torch.zeros(1))


class Told(Stages):
    """Answers at the exit that a configuration enables."""

    exits, megabytes = 1, 2.0

    def infer(self, x, setting):
        return np.array([0.0, 1.0]), 0 if setting.enabled[0] else 1


def test_the_table_decides_and_a_budget_below_it_is_refused():
    times = StageTimes((Times(1.0, 2.0), Times(5.0, 6.0)), (Times(1.0, 2.0), Times(5.0, 6.0)))
    outputs = [np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])]  # the final one is right
    settings = Settings(forced(1), outputs=outputs, labels=np.array([1]), times=times)
    peer = Staged(
        "p", "", stages=Told(), inputs=[np.zeros(1)], settings=settings, table=settings.by_budget(), clock=lambda: 0.0
    )
    assert peer.megabytes == 2.0
    assert peer.ask(0, 1.0) == Reply(None, 0.0, refused=True)
    assert peer.ask(0, 6.5).exit == 1


@needs_earlyon
def test_both_engines_answer_as_the_model(model, tmp_path):
    stages = staged(model)
    x = model.backbone.example_input(1, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted = [outputs.numpy()[0] for outputs in model(x)]
    engines = (TorchStages(stages), OnnxStages(stages, x, folder=tmp_path, threads=1))
    behind = Setting((True, True), (2.0, 0.0), (1.0, 1.0))  # the first head is run, and nothing leaves there
    for engine in engines:
        assert engine.exits == 2
        assert engine.megabytes > 0
        for exit_, setting in enumerate(forced(2)):
            outputs, at = engine.infer(x.numpy(), setting)
            assert at == exit_
            assert np.abs(outputs - wanted[exit_]).max() < 1e-4
        outputs, at = engine.infer(x.numpy(), behind)
        assert at == 1
        assert np.abs(outputs - wanted[1]).max() < 1e-4


@needs_earlyon
def test_its_calibrators_find_configurations():
    from peers.calibration import calibrated

    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=80)
    outputs = rng.normal(size=(3, 80, 4)).astype(np.float32)
    for depth in range(3):
        outputs[depth, np.arange(80), labels] += 1.0 + depth
    times = StageTimes(*[tuple(Times(k, k * 1.2) for k in (1.0, 2.0, 3.0))] * 2)
    found = calibrated(list(outputs), labels, times)
    assert found[:3] == forced(2)
    assert len(found) == len(set(found)) > 6
    assert any(setting.temperatures != (1.0, 1.0) for setting in found)
    # A budget between the first and the second exit is met by leaving at the first one, mostly or always.
    settings = Settings(found, outputs=list(outputs), labels=labels, times=times)
    assert (settings.shares @ np.array([1.0, 2.0, 3.0])).min() == pytest.approx(1.0)
