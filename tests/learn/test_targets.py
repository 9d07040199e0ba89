"""Regression targets in a unit of their own: by hand, and folded into every kind of head."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from exitsearch.learn.targets import TargetScale, can_answer_in, fold, output_layers, start_at_centre
from exitsearch.models.heads import ExitHead, check_fits, create_head, list_heads
from exitsearch.testing import LAYOUTS, example_features

SCALE = TargetScale.of(torch.tensor([100.0, 0.0, 20.0, 10.0]))
# Those of the package: tests before this one may have registered others.
BUILT_IN = [head.name for head in list_heads() if head.build.__module__.startswith("exitsearch.")]


class _Own(ExitHead):
    """A user's head that says nothing of its last layer."""

    def __init__(self, placement, num_outputs):
        super().__init__(placement, num_outputs)
        self.fc = nn.Linear(placement.channels, num_outputs)

    def forward(self, features):
        return self.fc(features[:, 0]).tanh()


class _WithoutBias(_Own):
    """One whose last layer has nowhere to put a shift."""

    def __init__(self, placement, num_outputs):
        super().__init__(placement, num_outputs)
        self.fc = nn.Linear(placement.channels, num_outputs, bias=False)

    def forward(self, features):
        return self.fc(features[:, 0])

    def output_layers(self):
        return [self.fc]


def _scale(centre, spread):
    return TargetScale(torch.tensor(centre, dtype=torch.float64), torch.tensor(spread, dtype=torch.float64))


def test_scale_by_hand():
    """Targets 0, 10, 20, 100: median 15; 15, 5, 5 and 85 away from it, 27.5 on the average."""
    assert (SCALE.centre.tolist(), SCALE.spread.tolist()) == ([15.0], [27.5])
    torch.testing.assert_close(SCALE.standardise(torch.tensor([15.0, 42.5, -12.5])), torch.tensor([0.0, 1.0, -1.0]))
    assert SCALE.restore(torch.tensor([[0.0], [2.0]])).tolist() == [[15.0], [70.0]]


def test_in_this_unit_the_best_constant_is_zero_and_its_error_one():
    targets = torch.randn(101, generator=torch.Generator().manual_seed(0)) ** 3 * 1e4 + 5e3
    standard = TargetScale.of(targets).standardise(targets)
    assert float(standard.median()) == pytest.approx(0, abs=1e-6)
    assert float(standard.abs().mean()) == pytest.approx(1, rel=1e-5)


def test_counts_that_are_mostly_zero_have_a_spread():
    """Their median absolute deviation is 0; one count of 50 among ten is 5 away on the average."""
    scale = TargetScale.of(torch.tensor([0.0] * 9 + [50.0]))
    assert (float(scale.centre), float(scale.spread)) == (0.0, 5.0)


def test_targets_that_are_all_one_number_are_only_shifted():
    scale = TargetScale.of(torch.full((4,), 7.0))
    assert scale.standardise(torch.tensor([7.0, 9.0])).tolist() == [0.0, 2.0]


def test_each_of_several_targets_has_its_own_scale():
    """Columns 0, 2 (median 1, 1 away) and 0, 200 (100, 100 away)."""
    targets = torch.tensor([[0.0, 0.0], [2.0, 200.0]])
    standard = TargetScale.of(targets).standardise(targets)
    assert standard.tolist() == [[-1.0, -1.0], [1.0, 1.0]]
    assert TargetScale.of(targets).restore(standard).tolist() == targets.tolist()


def test_classification_has_no_scale():
    assert TargetScale.for_task(torch.tensor([0, 1]), task="classification") is None
    assert TargetScale.for_task(torch.tensor([0.0, 1.0]), task="regression") is not None


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", BUILT_IN)
def test_every_head_takes_the_scale_into_its_last_layer(name, layout):
    """Two outputs with scales of their own; nothing is put behind a head of the package."""
    placement = LAYOUTS[layout]
    if check_fits(name, placement) is not None:
        pytest.skip("does not fit there")
    head = create_head(name, placement=placement, num_outputs=2, seed=0).eval()
    names, features = set(head.state_dict()), example_features(placement, batch_size=3)
    scale = _scale([100.0, -3.0], [27.5, 0.01])
    with torch.no_grad():
        expected = scale.restore(head(features))
        fold(head, scale)
        torch.testing.assert_close(head(features), expected, rtol=1e-5, atol=1e-5)
    assert set(head.state_dict()) == names


@pytest.mark.parametrize("kind", [_Own, _WithoutBias])
def test_a_head_that_cannot_take_it_has_it_behind(kind):
    placement = LAYOUTS["tokens"]
    torch.manual_seed(0)
    head, features = kind(placement, 1).eval(), example_features(placement, batch_size=3)
    with torch.no_grad():
        expected = SCALE.restore(head(features))
        fold(head, SCALE)
        torch.testing.assert_close(head(features), expected)
        loaded = kind(placement, 1).eval()
        loaded.load_state_dict(head.state_dict())
        torch.testing.assert_close(loaded(features), expected)
        # Inside another module, as in a multi-exit model.
        whole = nn.ModuleList([kind(placement, 1).eval()])
        whole.load_state_dict(nn.ModuleList([head]).state_dict())
        torch.testing.assert_close(whole[0](features), expected)


def test_a_copy_has_a_scale_of_its_own():
    placement = LAYOUTS["tokens"]
    head = _Own(placement, 1).eval()
    fold(head, SCALE)
    other, features = copy.deepcopy(head), example_features(placement)
    with torch.no_grad():
        before = head(features)
        other.attach_output_scale().shift.add_(1)
        assert torch.equal(head(features), before)
        torch.testing.assert_close(other(features), before + 1)


def test_a_head_that_was_never_scaled_holds_nothing_more():
    placement = LAYOUTS["tokens"]
    head = _Own(placement, 1)
    assert set(head.state_dict()) == {"fc.weight", "fc.bias"}
    head.load_state_dict(_Own(placement, 1).state_dict())
    assert set(head.state_dict()) == {"fc.weight", "fc.bias"}


def test_scales_behind_a_head_add_up():
    """Two in a row: ((x * 2 + 1) * 3 + 10) = 6 x + 13."""
    placement = LAYOUTS["tokens"]
    head, features = _Own(placement, 1).eval(), example_features(placement)
    with torch.no_grad():
        plain = head(features)
        fold(head, _scale([1.0], [2.0]))
        fold(head, _scale([10.0], [3.0]))
        torch.testing.assert_close(head(features), 6 * plain + 13)


@pytest.mark.parametrize(
    "classifier",
    [
        nn.Linear(4, 1),
        nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)),
        nn.Sequential(nn.Unflatten(1, (4, 1, 1)), nn.Conv2d(4, 1, 1), nn.Flatten()),
    ],
    ids=["linear", "sequence", "convolution"],
)
def test_a_classifier_takes_it_into_its_last_layer(classifier):
    torch.manual_seed(0)
    classifier, inputs = nn.ModuleList([classifier]).eval(), torch.randn(3, 4)
    with torch.no_grad():
        expected = SCALE.restore(classifier[0](inputs))
        fold(classifier, SCALE)
        torch.testing.assert_close(classifier[0](inputs), expected)


def test_both_classifiers_of_a_distilled_model_take_it():
    torch.manual_seed(0)
    both, inputs = nn.ModuleList([nn.Linear(4, 1), nn.Linear(4, 1)]), torch.randn(3, 4)
    with torch.no_grad():
        expected = SCALE.restore((both[0](inputs) + both[1](inputs)) / 2)
        fold(both, SCALE)
        torch.testing.assert_close((both[0](inputs) + both[1](inputs)) / 2, expected)


def test_a_classifier_without_a_bias_learns_on_targets_as_they_are():
    plain = nn.ModuleList([nn.Linear(4, 1, bias=False)])
    assert output_layers(plain) == []
    assert not can_answer_in(plain)
    assert can_answer_in(nn.ModuleList([nn.Linear(4, 1)]))
    assert can_answer_in(_WithoutBias(LAYOUTS["tokens"], 1))
    # One of two that could: neither.
    assert output_layers(nn.ModuleList([nn.Linear(4, 1), nn.Linear(4, 1, bias=False)])) == []


def test_heads_start_at_the_median():
    head = create_head("linear", placement=LAYOUTS["tokens"], num_outputs=1, seed=0)
    assert bool(head.fc.bias.any())
    start_at_centre(head)
    assert not bool(head.fc.bias.any())
