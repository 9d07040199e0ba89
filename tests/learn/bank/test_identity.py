"""What a head's result depends on: the same words for what has not changed, so that stored banks stay of use."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest
import timm
import torch
from small_data import RECIPE, small_backbone, small_digits

from exitsearch.learn.bank.identity import bank_digest, bank_identity, recipe_identity, weights_digest
from exitsearch.learn.bank.recipe import HeadRecipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaterRecipe(HeadRecipe):
    """A recipe as a later version may have it."""

    flips: tuple[str, ...] = ()


def _later(**changed):
    return LaterRecipe(**dataclasses.asdict(RECIPE), **changed)


def test_a_new_field_is_named_only_where_it_is_not_at_its_default():
    assert recipe_identity(_later()) == recipe_identity(RECIPE)
    assert recipe_identity(_later(flips=("left",))) == {**recipe_identity(RECIPE), "flips": ["left"]}


def test_fields_that_stored_banks_name_are_always_named():
    named = {key: value for key, value in dataclasses.asdict(RECIPE).items() if key != "description"}
    assert recipe_identity(RECIPE) == {key: named[key] for key in recipe_identity(RECIPE)}
    # weight_decay to stop_patience have defaults, and are there all the same.
    assert {"weight_decay", "schedule", "plateau_factor", "plateau_patience", "stop_patience"} <= {
        *recipe_identity(HeadRecipe(name="", description="", epochs=1, batch_size=1, learning_rate=1.0))
    }


def test_the_digest_names_the_folders_that_stand():
    """As the first version made it, so that folders under its names are found again."""
    backbone = small_backbone()
    data = small_digits(backbone)
    fields = ("name", "epochs", "batch_size", "learning_rate", "weight_decay", "schedule")
    fields += ("plateau_factor", "plateau_patience", "stop_patience")
    identity = {
        "backbone": backbone.facts.model_dump(mode="json"),
        "weights": f"random:0 {weights_digest(backbone)}",
        "final_is_trained": False,
        "data": "digits first 30",
        "heads": ["1/linear", "4/mlp_ee"],
        "recipe": {name: getattr(RECIPE, name) for name in fields},
        "seed": 3,
        "libraries": {"torch": torch.__version__.split(".")[0], "timm": timm.__version__.split(".")[0]},
    }
    expected = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    assert bank_digest(backbone, data, exits=[(4, "mlp_ee"), (1, "linear")], recipe=RECIPE, seed=3) == expected


def test_the_identity_is_what_json_gives_back_and_names_no_head():
    backbone = small_backbone()
    identity = bank_identity(backbone, small_digits(backbone), recipe=RECIPE, seed=0)
    assert json.loads(json.dumps(identity)) == identity
    assert "heads" not in identity


@pytest.mark.parametrize("trained", [False, True])
def test_a_classifier_that_is_trained_along_is_no_part_of_the_weights(trained):
    backbone = small_backbone()
    backbone.final_is_trained = trained
    before = weights_digest(backbone)
    with torch.no_grad():
        backbone.module.head.weight += 1
    assert (weights_digest(backbone) != before) == trained
