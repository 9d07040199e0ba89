"""joint: a weighted sum over all exits."""

from __future__ import annotations

import pytest
import torch
from small_exits import HAND_EXIT, HAND_LABELS, REGRESSION_TARGETS, hand_outputs, numbers, regression_outputs

from exitsearch.errors import InputError
from exitsearch.learn.recipes.losses.joint import joint


def test_one_for_each_exit_and_two_for_the_final_one() -> None:
    # 0.6081977, and 2 x 0.9229133 = 1.8458267.
    found = numbers(joint(hand_outputs(), HAND_LABELS, None, 0))
    assert found == pytest.approx({"exit_0": HAND_EXIT, "final": 1.8458267}, abs=1e-6)


def test_other_weights() -> None:
    # 0.5 x 0.6081977 = 0.3040988, 3 x 0.9229133 = 2.7687400.
    for weights in (0.5, [0.5]):
        found = numbers(joint(hand_outputs(), HAND_LABELS, None, 0, weights=weights, final=3))
        assert found == pytest.approx({"exit_0": 0.3040988, "final": 2.7687400}, abs=1e-6)


def test_shares_of_classes() -> None:
    """The first input is half class 0 and half class 1, the second all class 2.

    Exit: (ln 9 + ln(9/4)) / 2 = (2.1972246 + 0.8109302) / 2 = 1.5040774, and ln(6/4) = 0.4054651; mean 0.9547713.
    Final: (ln(24/16) + ln 6) / 2 = (0.4054651 + 1.7917595) / 2 = 1.0986123, and 0.0540672; mean 0.5763398, twice
    1.1526795.
    """
    shares = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    found = numbers(joint(hand_outputs(), shares, None, 0))
    assert found == pytest.approx({"exit_0": 0.9547713, "final": 1.1526795}, abs=1e-6)


@pytest.mark.parametrize("targets", [REGRESSION_TARGETS, REGRESSION_TARGETS[:, None]])
def test_regression_takes_the_absolute_error(targets: torch.Tensor) -> None:
    # Mean errors 1.5 and 0.5, the final one twice.
    assert numbers(joint(regression_outputs(), targets, None, 0)) == {"exit_0": 1.5, "final": 1.0}


def test_weights_are_one_for_each_exit() -> None:
    with pytest.raises(InputError, match=r"one for each of the 1 chosen exits .* found 2; give 1"):
        joint(hand_outputs(), HAND_LABELS, None, 0, weights=[1, 1])


@pytest.mark.parametrize("wrong", [{"weights": -1}, {"final": float("nan")}, {"weights": [float("inf")]}])
def test_weights_are_finite_and_not_below_0(wrong: dict) -> None:
    with pytest.raises(InputError, match=r"a weight is a finite number from 0, found .* loss joint"):
        joint(hand_outputs(), HAND_LABELS, None, 0, **wrong)


def test_gradient_of_the_final_exit_is_twice_that_of_its_mean_loss() -> None:
    # d CE / d logit = (probability - label) / batch: (16/24 - 0) / 2 for the first, doubled by the weight: 2/3.
    outputs = hand_outputs()
    sum(joint(outputs, HAND_LABELS, None, 0).values()).backward()
    assert outputs.logits[-1].grad[0, 0].item() == pytest.approx(2 / 3)
