"""Losses and scores against small cases worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from exitsearch.learn.losses import decay_penalty, fallback_score, metric_of, score, task_loss


def test_cross_entropy_by_hand():
    """Outputs (0, ln 3): softmax (1/4, 3/4); label 1 costs ln(4/3), label 0 costs ln 4; the mean is ln(16/3) / 2."""
    outputs = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]])
    loss = task_loss(outputs, torch.tensor([1, 0]), task="classification")
    assert float(loss) == pytest.approx(math.log(16 / 3) / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_cross_entropy_of_shares_of_classes_by_hand(dtype):
    """Softmax (1/4, 3/4); shares (1/2, 1/2) cost (ln 4 + ln(4/3)) / 2, shares (0, 1) cost ln(4/3)."""
    outputs = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]])
    loss = task_loss(outputs, torch.tensor([[0.5, 0.5], [0.0, 1.0]], dtype=dtype), task="classification")
    assert float(loss) == pytest.approx((math.log(16 / 3) / 2 + math.log(4 / 3)) / 2)
    assert loss.dtype == torch.float32


def test_absolute_error_by_hand():
    """Answers 1 and 4 against 3 and 3 are 2 and 1 away: 1.5. [2] from [2, 1] unreshaped would give 2 x 2."""
    outputs, labels = torch.tensor([[1.0], [4.0]]), torch.tensor([3.0, 3.0])
    assert float(task_loss(outputs, labels, task="regression")) == pytest.approx(1.5)
    assert score(outputs, labels, task="regression") == pytest.approx(1.5)
    outputs, labels = torch.tensor([[1.0], [4.0]]), torch.tensor([1.0, 4.0])
    assert score(outputs, labels, task="regression") == 0.0


def test_accuracy_by_hand():
    outputs = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, -1.0], [0.5, 0.0]])
    assert score(outputs, torch.tensor([0, 1, 1, 0]), task="classification") == 0.75


def test_fallback_of_regression_is_the_error_of_the_median():
    """Training targets 0, 1, 2, 9 have the median 1.5; the choice targets 1, 3, 4 are 0.5, 1.5 and 2.5 from it: 1.5."""
    train, choice = torch.tensor([9.0, 0.0, 2.0, 1.0]), torch.tensor([1.0, 3.0, 4.0])
    assert fallback_score(train, choice, task="regression") == pytest.approx(1.5)


def test_fallback_of_accuracy_is_zero():
    assert fallback_score(torch.tensor([0, 1]), torch.tensor([0, 1]), task="classification") == 0.0


def test_metrics():
    assert (metric_of("classification"), metric_of("regression")) == ("accuracy", "mae")


class _Decayed(nn.Linear):
    def decay_parameters(self):
        return [self.weight]


def test_penalty_covers_what_the_head_names():
    """Weights 1, 2, 2 square to 9; the bias takes no part."""
    head = _Decayed(3, 1)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 2.0, 2.0]]))
        head.bias.fill_(100.0)
    assert float(decay_penalty(head).detach()) == pytest.approx(9.0)
    assert decay_penalty(nn.Linear(3, 1)) is None
