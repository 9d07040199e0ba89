"""alternating: the final exit and all exits take turns."""

from __future__ import annotations

import pytest
from small_exits import HAND_FINAL, HAND_LABELS, REGRESSION_TARGETS, hand_outputs, numbers, regression_outputs

from exitsearch.learn.recipes.losses.alternating import alternating


@pytest.mark.parametrize("step", [0, 2, 100])
def test_even_steps_are_the_final_exits(step: int) -> None:
    outputs = hand_outputs(placements=(1,), depth=3)
    terms = alternating(outputs, HAND_LABELS, None, step)
    assert numbers(terms) == pytest.approx({"final": HAND_FINAL}, abs=1e-6)
    terms["final"].backward()
    assert outputs.logits[0].grad is None


@pytest.mark.parametrize("step", [1, 3, 101])
def test_odd_steps_weigh_exits_by_their_block(step: int) -> None:
    # Placement 1 is block 2 of 3: weights 2 / (2 + 3) and 3 / (2 + 3).
    # 0.6081977 x 2 / 5 = 0.2432791, 0.9229133 x 3 / 5 = 0.5537480.
    found = numbers(alternating(hand_outputs(placements=(1,), depth=3), HAND_LABELS, None, step))
    assert found == pytest.approx({"exit_0": 0.2432791, "final": 0.5537480}, abs=1e-6)


def test_regression() -> None:
    # Mean errors 1.5 and 0.5 by the weights 2/5 and 3/5.
    found = numbers(alternating(regression_outputs(placements=(1,), depth=3), REGRESSION_TARGETS, None, 1))
    assert found == pytest.approx({"exit_0": 0.6, "final": 0.3})
