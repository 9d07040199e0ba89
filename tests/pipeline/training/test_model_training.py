"""What is asked for instead of a recipe's own numbers, and options of losses as people write them."""

from __future__ import annotations

import pytest

from exitsearch.errors import InputError
from exitsearch.pipeline.training.model_training import Changes, read_loss_options


def test_numbers_lists_and_words() -> None:
    read = read_loss_options(["share=.5", " weights = 1,2 ", "kind=soft,hard", "path=a=b"])
    assert read == {"share": 0.5, "weights": [1.0, 2.0], "kind": "soft,hard", "path": "a=b"}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["share"], "an option of a loss is written NAME=VALUE, as least=0.1, found 'share'"),
        (["=1"], "found '=1'"),
        (["share="], "found 'share='"),
        (["share=1", "share=2"], "the option share of a loss is given twice; leave one out"),
    ],
)
def test_what_is_no_option(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_loss_options(texts)


@pytest.mark.parametrize("given", [{"least": 0.25}, ["least=0.25"], "least=0.25"])
def test_options_reach_the_stages(given: object) -> None:
    (stage,) = Changes.given("recipe", loss_options=given, epochs=3).of("budget").stages
    assert (stage.options, stage.epochs) == ({"least": 0.25}, 3)


@pytest.mark.parametrize("given", [None, {}, []])
def test_without_options_a_recipe_is_as_it_was(given: object) -> None:
    assert Changes.given("recipe", loss_options=given).of("joint").stages[0].options == {}
