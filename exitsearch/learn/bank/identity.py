"""What the result of training a head depends on, beside the head itself: as plain data, and as digests."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import Any

import timm
import torch

from exitsearch.learn.bank.recipe import HeadRecipe
from exitsearch.learn.bank.trainee import head_key
from exitsearch.learn.data import DataSplits
from exitsearch.learn.targets import STANDARDISED
from exitsearch.models.backbone import Backbone
from exitsearch.models.multi_exit import final_parameters

# Fields of a recipe that its identity always names, as the folders that stand do. A later one is named only where it is
# not at its default, so that a new field leaves what was trained without it as it is.
_ALWAYS_NAMED = frozenset(
    (
        "name",
        "epochs",
        "batch_size",
        "learning_rate",
        "weight_decay",
        "schedule",
        "plateau_factor",
        "plateau_patience",
        "stop_patience",
    )
)


def bank_identity(backbone: Backbone, data: DataSplits, *, recipe: HeadRecipe, seed: int) -> dict[str, Any]:
    """Everything that the result of a head depends on beside the head itself, as JSON would give it back."""
    return {
        "backbone": backbone.facts.model_dump(mode="json"),
        "weights": f"{backbone.weights} {weights_digest(backbone)}",
        "final_is_trained": backbone.final_is_trained,
        "data": f"{data.name} {data.identity}",
        "recipe": recipe_identity(recipe),
        "seed": seed,
        "libraries": {"torch": torch.__version__.split(".")[0], "timm": timm.__version__.split(".")[0]},
        **({"targets": STANDARDISED} if data.task == "regression" else {}),
    }


def recipe_identity(recipe: HeadRecipe) -> dict[str, Any]:
    """What of a recipe a result depends on, as JSON would give it back."""
    fields = [field for field in dataclasses.fields(recipe) if field.name != "description"]
    values = {field.name: getattr(recipe, field.name) for field in fields}
    named = {f.name for f in fields if f.name in _ALWAYS_NAMED or values[f.name] != f.default}
    found: dict[str, Any] = json.loads(json.dumps({name: values[name] for name in values if name in named}))
    return found


def bank_digest(
    backbone: Backbone, data: DataSplits, *, exits: Iterable[tuple[int, str]], recipe: HeadRecipe, seed: int
) -> str:
    """12 hexadecimal digits that stand for everything that `train_bank` of these arguments depends on."""
    heads = [head_key(placement, head) for placement, head in sorted(exits)]
    identity = {**bank_identity(backbone, data, recipe=recipe, seed=seed), "heads": heads}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def weights_digest(backbone: Backbone) -> str:
    """Digest of the backbone's weights, a new final classifier left out: `file:...` says no more after fine-tuning."""
    own = set() if backbone.final_is_trained else set(final_parameters(backbone))
    digest = hashlib.sha256()
    for name, tensor in backbone.module.state_dict().items():
        if name not in own:
            # Viewed as bytes, since numpy knows no bfloat16.
            data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(data.numpy())
    return digest.hexdigest()[:16]
