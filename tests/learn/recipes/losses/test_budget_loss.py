"""budget: each exit weighs as much as its answer is used."""

from __future__ import annotations

import pytest
from small_exits import HAND_LABELS, REGRESSION_TARGETS, hand_outputs, numbers, regression_outputs

from exitsearch.errors import InputError
from exitsearch.learn.recipes.losses.budget import budget


def test_weights_are_chances_over_their_sum() -> None:
    # Chances 0.2 and 0.6 weigh 1/4 and 3/4: 0.6081977 / 4 = 0.1520494, 0.9229133 x 3 / 4 = 0.6921850.
    found = numbers(budget(hand_outputs(chances=(0.2, 0.6)), HAND_LABELS, None, 0))
    assert found == pytest.approx({"exit_0": 0.1520494, "final": 0.6921850}, abs=1e-6)


def test_regression() -> None:
    # Mean errors 1.5 and 0.5, weights 1/4 and 3/4.
    found = numbers(budget(regression_outputs(chances=(0.2, 0.6)), REGRESSION_TARGETS, None, 0))
    assert found == pytest.approx({"exit_0": 0.375, "final": 0.375})


def test_an_exit_of_chance_0_has_no_gradient_but_0() -> None:
    outputs = hand_outputs(chances=(0.0, 0.5))
    terms = budget(outputs, HAND_LABELS, None, 0)
    sum(terms.values()).backward()
    assert terms["exit_0"].item() == 0
    assert outputs.logits[0].grad.abs().sum() == 0
    assert outputs.logits[1].grad.abs().sum() > 0


def test_least_gives_every_exit_a_weight() -> None:
    # 0 becomes 0.1 and 0.4 stays: 1/5 and 4/5. 0.6081977 / 5 = 0.1216395, 0.9229133 x 4 / 5 = 0.7383307.
    found = numbers(budget(hand_outputs(chances=(0.0, 0.4)), HAND_LABELS, None, 0, least=0.1))
    assert found == pytest.approx({"exit_0": 0.1216395, "final": 0.7383307}, abs=1e-6)


@pytest.mark.parametrize(
    ("chances", "least", "message"),
    [
        (None, 0.0, "no chances were given; give chances, one number for each of the 2 exits .*recipe joint"),
        ((0.0, 0.0), 0.0, "no exit's answer is ever in hand .* set the option least"),
        ((0.5, 0.5), -0.1, "least is a weight from 0 to 1, found -0.1 in the options of the loss budget"),
        ((0.5, 0.5), float("nan"), "least is a weight from 0 to 1, found nan"),
    ],
)
def test_what_it_refuses(chances: tuple[float, ...] | None, least: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        budget(hand_outputs(chances=chances), HAND_LABELS, None, 0, least=least)
