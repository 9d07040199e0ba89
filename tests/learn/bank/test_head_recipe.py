"""Recipes: rates by hand, names, epochs."""

from __future__ import annotations

import dataclasses

import pytest

from exitsearch.errors import InputError
from exitsearch.learn.bank.recipe import HEAD_RECIPES, HeadRecipe, get_head_recipe


@pytest.mark.parametrize(("done", "share"), [(0.0, 0.0), (0.1, 0.5), (0.2, 1.0), (0.6, 0.5), (1.0, 0.0)])
def test_one_cycle_rises_for_a_fifth_and_falls_along_a_cosine(done, share):
    """Rise to 1 at 0.2, linearly; at 0.6 half of the fall is behind, where the cosine is 0 and the rate one half."""
    recipe = HeadRecipe(name="r", description="", epochs=1, batch_size=1, learning_rate=0.4, schedule="one_cycle")
    assert recipe.rate(done) == pytest.approx(0.4 * share, abs=1e-12)


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_other_schedules_keep_the_rate(schedule):
    recipe = HeadRecipe(name="r", description="", epochs=1, batch_size=1, learning_rate=0.4, schedule=schedule)
    assert [recipe.rate(done) for done in (0.0, 0.5, 1.0)] == [0.4, 0.4, 0.4]


def test_the_paper_recipe_has_the_paper_numbers():
    recipe = HEAD_RECIPES["mevit"]
    assert (recipe.learning_rate, recipe.batch_size, recipe.epochs) == (1e-4, 64, 100)
    assert (recipe.plateau_factor, recipe.plateau_patience, recipe.stop_patience) == (0.6, 2, 5)


def test_epochs_can_be_set():
    assert get_head_recipe("frozen", epochs=3).epochs == 3
    assert get_head_recipe("frozen") is HEAD_RECIPES["frozen"]
    assert get_head_recipe(HEAD_RECIPES["mevit"]) is HEAD_RECIPES["mevit"]


def test_the_paper_recipe_has_the_penalty_of_the_authors_code():
    assert HEAD_RECIPES["mevit"].weight_decay == 0.01


def test_batch_size_and_rate_can_be_set_and_belong_to_the_identity():
    asked = get_head_recipe("frozen", batch_size=64, learning_rate=1e-3)
    assert (asked.batch_size, asked.learning_rate, asked.epochs) == (64, 1e-3, HEAD_RECIPES["frozen"].epochs)
    assert dataclasses.asdict(asked) != dataclasses.asdict(HEAD_RECIPES["frozen"])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"batch_size": 0}, "at least 1 input a step, found a batch size of 0"),
        ({"learning_rate": 0.0}, "a learning rate is a finite number above 0, found 0.0"),
        ({"learning_rate": float("nan")}, "a learning rate is a finite number above 0, found nan"),
    ],
)
def test_numbers_out_of_range_are_refused(asked, words):
    with pytest.raises(InputError, match=words):
        get_head_recipe("frozen", **asked)


def test_wrong_recipes_are_refused():
    with pytest.raises(InputError, match=r"unknown recipe 'frozn' \(did you mean 'frozen'\?\); known: frozen, mevit"):
        get_head_recipe("frozn")
    with pytest.raises(InputError, match="at least 1 epoch, found 0"):
        get_head_recipe("frozen", epochs=0)
