"""distill: labels and a teacher."""

from __future__ import annotations

import pytest
import torch
from small_exits import HAND_LABELS, REGRESSION_TARGETS, hand_outputs, numbers, regression_outputs, weighed

from exitsearch.errors import InputError
from exitsearch.learn.recipes.losses.distill import distill


def test_from_its_own_final_exit() -> None:
    """At T = 2 probabilities go with the square roots of the numbers.

    First input: teacher (4, 2, 2) / 8, exit (1, 2, 2) / 5. KL = 1/2 ln(5/2) + 2 x 1/4 ln(5/8) = ln(5/4) = 0.2231436.
    Second: teacher (1, 1, 6) / 8, exit (1, 1, 2) / 4. KL = 2 x 1/8 ln(1/2) + 3/4 ln(3/2) = -0.1732868 + 0.3040988
    = 0.1308120. Sum 0.3539556, times T^2 = 4 and over the batch of 2: 0.7079112; by the share 0.5: 0.3539556.
    Labels: 0.5 x 0.6081977 + 0.9229133 = 1.2270121.
    """
    outputs = hand_outputs()
    for teacher in (None, outputs.logits[-1].detach()):
        found = numbers(distill(outputs, HAND_LABELS, teacher, 0))
        assert found == pytest.approx({"labels": 1.2270121, "teacher": 0.3539556}, abs=1e-6)


def test_its_own_final_exit_is_taught_by_labels_alone() -> None:
    outputs = hand_outputs()
    distill(outputs, HAND_LABELS, None, 0)["teacher"].backward()
    assert outputs.logits[-1].grad.abs().max().item() == pytest.approx(0, abs=1e-12)
    assert outputs.logits[0].grad.abs().max() > 0.01


def test_from_a_given_teacher() -> None:
    """The teacher answers as the exit does, so that only the final exit has something to learn from it.

    At T = 2: KL of the exit's (1, 2, 2) / 5 from the final (4, 2, 2) / 8: 1/5 ln(2/5) + 4/5 ln(8/5) = -0.1832581
    + 0.3760029 = 0.1927448. Second, (1, 1, 2) / 4 from (1, 1, 6) / 8: 1/2 ln 2 + 1/2 ln(2/3) = 0.3465736 - 0.2027326
    = 0.1438410. Sum 0.3365858, x 4 / 2 = 0.6731716; by the share 0.25: 0.1682929. Labels: 0.75 x 0.6081977 + 0.9229133
    = 1.3790616.
    """
    teacher = weighed([[1, 4, 4], [1, 1, 4]])
    found = numbers(distill(hand_outputs(), HAND_LABELS, teacher, 0, share=0.25))
    assert found == pytest.approx({"labels": 1.3790616, "teacher": 0.1682929}, abs=1e-6)


def test_temperature_1() -> None:
    """Teacher (16, 4, 4) / 24, exit (1, 4, 4) / 9: 2/3 ln 6 + 1/3 ln(3/8) = 1.1945063 - 0.3269431 = 0.8675632.

    Second, (1, 1, 36) / 38 from (1, 1, 4) / 6: 2/38 ln(6/38) + 36/38 ln(54/38) = -0.0971488 + 0.3329033 = 0.2357546.
    Mean 0.5516589.
    """
    found = distill(hand_outputs(), HAND_LABELS, None, 0, share=1, temperature=1)
    assert numbers(found) == pytest.approx({"labels": 0.9229133, "teacher": 0.5516589}, abs=1e-6)


def test_gradients_never_reach_the_teacher() -> None:
    teacher = weighed([[1, 2, 3], [3, 2, 1]])
    sum(distill(hand_outputs(), HAND_LABELS, teacher, 0).values()).backward()
    assert teacher.grad is None


def test_regression() -> None:
    # Errors to the targets 1.5 and 0.5, of the exit from the final one 1: 0.5 x 1.5 + 0.5 and 0.5 x 1.
    found = numbers(distill(regression_outputs(), REGRESSION_TARGETS, None, 0))
    assert found == {"labels": 1.25, "teacher": 0.5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 1.5}, "share is a number from 0 to 1, found 1.5 in the options of the loss distill"),
        ({"temperature": 0}, "a temperature is a finite number above 0, found 0"),
    ],
)
def test_options_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        distill(hand_outputs(), HAND_LABELS, None, 0, **options)


def test_a_teacher_with_other_classes() -> None:
    with pytest.raises(InputError, match="with 3 outputs for each of 2 inputs, found 2x5; give one"):
        distill(hand_outputs(), HAND_LABELS, torch.zeros(2, 5), 0)
