"""The conformance test itself: every fault that it is there for is found."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from exitsearch.errors import UnsupportedError
from exitsearch.models.features import mean_token
from exitsearch.models.heads import ExitHead, register_head, registry
from exitsearch.testing import LAYOUTS, HeadConformance, example_features

CHECKS = [name for name in dir(HeadConformance) if name.startswith("test_")]
SLOW = {"test_onnx", "test_compile"}


class Sound(ExitHead):
    """Mean and one linear layer."""

    def __init__(self, placement, num_outputs, *, dropout: float = 0.1):
        super().__init__(placement, num_outputs)
        self.drop = nn.Dropout(dropout)
        self.fc = nn.Linear(placement.channels, num_outputs)

    def forward(self, x):
        return self.fc(self.drop(mean_token(x, self.placement)))


class WrongShape(Sound):
    def forward(self, x):
        return super().forward(x)[0]


class DeadParameter(Sound):
    def __init__(self, placement, num_outputs):
        super().__init__(placement, num_outputs)
        self.dead = nn.Parameter(torch.zeros(3))


class ZeroGradient(DeadParameter):
    def forward(self, x):
        return super().forward(x) + 0.0 * self.dead.sum()


class ReadsTheBatch(Sound):
    def forward(self, x):
        return super().forward(x - x.mean(0))


class ChangesItsInput(Sound):
    def forward(self, x):
        return super().forward(x.mul_(2.0))


class RandomInUse(Sound):
    def forward(self, x):
        return functional.dropout(super().forward(x), 0.5, training=True)


class HiddenMode(Sound):
    def forward(self, x):
        outputs = super().forward(x)
        return outputs * 2 if self.training else outputs


class HiddenState(Sound):
    def __init__(self, placement, num_outputs):
        super().__init__(placement, num_outputs)
        self.register_buffer("offset", torch.randn(num_outputs), persistent=False)

    def forward(self, x):
        return super().forward(x) + self.offset


class ForeignDecay(Sound):
    def decay_parameters(self):
        return [nn.Parameter(torch.zeros(2, 2))]


class FixedWeights(Sound):
    def __init__(self, placement, num_outputs):
        super().__init__(placement, num_outputs)
        nn.init.constant_(self.fc.weight, 0.1)
        nn.init.zeros_(self.fc.bias)


class FixedBatch(Sound):
    def forward(self, x):
        return torch.cat([super(FixedBatch, self).forward(x[i : i + 1]) for i in range(x.shape[0])])


class MovesToTheProcessor(Sound):
    def forward(self, x):
        return super().forward(x) + torch.zeros(self.num_outputs, device="cpu")


class RefusesOnlyWhenRun(Sound):
    def forward(self, x):
        if self.placement.layout == "nhwc":
            raise UnsupportedError("no nhwc")
        return super().forward(x)


def failures(monkeypatch, build, checks=CHECKS, **attributes) -> set[str]:
    """Names of the checks that a head fails."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    register_head("mine", description="under test", needs=("grid",))(build)
    conformance = type("TestMine", (HeadConformance,), {"head": "mine", **attributes})()
    failed = set()
    for name in checks:
        try:
            getattr(conformance, name)()
        except Exception:
            failed.add(name)
    return failed


def test_a_sound_head_passes(monkeypatch):
    assert failures(monkeypatch, Sound, [name for name in CHECKS if name not in SLOW]) == set()


@pytest.mark.parametrize(
    ("build", "check"),
    [
        (WrongShape, "test_output_shape"),
        (WrongShape, "test_single_output"),
        (DeadParameter, "test_gradients_reach_every_parameter"),
        (ZeroGradient, "test_gradients_reach_every_parameter"),
        (ReadsTheBatch, "test_inputs_are_independent"),
        (ChangesItsInput, "test_eval_is_deterministic"),
        (RandomInUse, "test_eval_is_deterministic"),
        (HiddenMode, "test_training_mode_differs_only_by_its_layers"),
        (HiddenState, "test_state_round_trip"),
        (ForeignDecay, "test_has_parameters"),
        (FixedWeights, "test_seed"),
        (FixedBatch, "test_export"),
        (MovesToTheProcessor, "test_meta_device"),
        (RefusesOnlyWhenRun, "test_output_shape"),
    ],
)
def test_each_fault_is_found(monkeypatch, build, check):
    assert failures(monkeypatch, build, [check]) == {check}


def test_a_head_that_fits_nowhere_is_a_fault(monkeypatch):
    only = {"tokens_no_grid": LAYOUTS["tokens_no_grid"]}
    assert failures(monkeypatch, Sound, ["test_output_shape"], layouts=only) == {"test_output_shape"}


def test_example_features():
    assert tuple(example_features(LAYOUTS["tokens_registers"], batch_size=2).shape) == (2, 5 + 3 * 3, 32)
    assert tuple(example_features(LAYOUTS["nchw"]).shape) == (1, 24, 6, 6)
    assert tuple(example_features(LAYOUTS["nhwc"]).shape) == (1, 5, 7, 24)
    first, other = (example_features(LAYOUTS["nchw"], seed=seed) for seed in (0, 1))
    assert not torch.equal(first, other)
