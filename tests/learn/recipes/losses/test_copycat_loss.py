"""copycat: the backbone's answers as labels."""

from __future__ import annotations

import pytest
import torch
from small_exits import HAND_LABELS, hand_outputs, numbers, regression_outputs

from exitsearch.learn.recipes.losses.copycat import copycat


@pytest.mark.parametrize("targets", [HAND_LABELS, torch.tensor([-1, -1]), torch.full((2, 3), float("nan"))])
def test_labels_are_not_looked_at(targets: torch.Tensor) -> None:
    # The final exit answers 0 and 2; of them the exit thinks 1/9 and 4/6: (ln 9 + ln(6/4)) / 2 =
    # (2.1972246 + 0.4054651) / 2 = 1.3013448.
    found = numbers(copycat(hand_outputs(), targets, None, 0))
    assert found == pytest.approx({"exit_0": 1.3013448}, abs=1e-6)


def test_the_answers_of_another_model() -> None:
    # It answers 0 twice; the exit thinks 1/9 and 1/6 of that: (2.1972246 + 1.7917595) / 2 = 1.9944920.
    teacher = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    found = numbers(copycat(hand_outputs(), HAND_LABELS, teacher, 0))
    assert found == pytest.approx({"exit_0": 1.9944920}, abs=1e-6)


def test_the_final_exit_is_not_trained() -> None:
    outputs = hand_outputs()
    copycat(outputs, HAND_LABELS, None, 0)["exit_0"].backward()
    assert outputs.logits[-1].grad is None


def test_regression() -> None:
    # Answers 1 and 3 of the exit against 2 and 4 of the final one.
    outputs = regression_outputs()
    terms = copycat(outputs, torch.full((2,), float("nan")), None, 0)
    assert numbers(terms) == {"exit_0": 1.0}
    terms["exit_0"].backward()
    assert outputs.logits[-1].grad is None
