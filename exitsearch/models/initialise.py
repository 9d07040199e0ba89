"""Initial weights of an exit head from its backbone, where the shapes agree.

    head = create_head("vit_ee(num_heads=3)", placement=backbone.placements[4], num_outputs=10)
    copied = block_from_backbone(head, backbone=backbone)    # the block that would come next

Each function returns the names of the head's parameters that it copied, and changes nothing when it cannot copy.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from exitsearch.errors import UnsupportedError
from exitsearch.models.backbone import Backbone
from exitsearch.models.heads.base import ExitHead
from exitsearch.models.heads.mevit import VitEE
from exitsearch.models.heads.plain import LinearHead


def block_from_backbone(head: ExitHead, *, backbone: Backbone) -> list[str]:
    """Copy the backbone's next block into the block of a `vit_ee` head.

    Args:
        head: a `vit_ee` head at one of the backbone's placements but the last.
        backbone: where the weights come from.

    Raises:
        UnsupportedError: the head has no block, there is no next one, or the two are not built alike.
    """
    if not isinstance(head, VitEE):
        raise UnsupportedError(
            f"only a vit_ee head has a block like the backbone's, found {type(head).__name__}; "
            "give one, or leave it as it is drawn"
        )
    later = head.placement.index + 1
    if later >= len(backbone.placements):
        raise UnsupportedError(
            f"no block follows placement {head.placement.index}, the last of {backbone.facts.name}; take an earlier one"
        )
    name = backbone.placements[later].module
    block = backbone.module.get_submodule(name)
    theirs = getattr(getattr(block, "attn", None), "num_heads", None)
    mine = head.block.attn.num_heads
    if theirs is not None and theirs != mine:
        # The shapes agree whatever the number of heads; what the weights mean does not.
        raise UnsupportedError(
            f"{name} of {backbone.facts.name} has {theirs} attention heads and the exit head {mine}; create it as "
            f"vit_ee(num_heads={theirs})"
        )
    return _copy({"block": head.block}, {"block": block}, source=f"{name} of {backbone.facts.name}")


def classifier_from_backbone(head: ExitHead, *, backbone: Backbone) -> list[str]:
    """Copy the backbone's final classifier, and the norm before it, into a `linear` head.

    Args:
        head: a `linear` head with as many outputs as the backbone.
        backbone: where the weights come from.

    Raises:
        UnsupportedError: the head is not linear, or channels, outputs or layers differ.
    """
    if not isinstance(head, LinearHead):
        raise UnsupportedError(
            f"only a linear head can start from the final classifier, found {type(head).__name__}; "
            "give one, or leave it as it is drawn"
        )
    classifiers = backbone.final_classifier()
    if len(classifiers) != 1 or not isinstance(classifiers[0], nn.Linear):
        found = ", ".join(type(classifier).__name__ for classifier in classifiers)
        raise UnsupportedError(
            f"{backbone.facts.name} must have one linear layer as its classifier, found {found}; "
            "leave the head as it is drawn"
        )
    mine: dict[str, nn.Module] = {"fc": head.fc}
    theirs: dict[str, nn.Module] = {"fc": classifiers[0]}
    norm = _final_norm(backbone)
    if norm is not None and isinstance(head.norm, nn.LayerNorm):
        mine["norm"], theirs["norm"] = head.norm, norm
    return _copy(mine, theirs, source=f"the final classifier of {backbone.facts.name}")


def _final_norm(backbone: Backbone) -> nn.LayerNorm | None:
    """The LayerNorm before the classifier: timm names it `fc_norm` after pooling and `norm` before."""
    for name in ("fc_norm", "norm"):
        norm = getattr(backbone.module, name, None)
        if isinstance(norm, nn.LayerNorm):
            return norm
    return None


def _copy(mine: Mapping[str, nn.Module], theirs: Mapping[str, nn.Module], *, source: str) -> list[str]:
    """Copy modules into their counterparts: all, or none when a name or shape differs."""
    target, origin = _states(mine), _states(theirs)
    for name in sorted(target.keys() | origin.keys()):
        here, there = (_shape(states.get(name)) for states in (target, origin))
        if here != there:
            raise UnsupportedError(
                f"the exit head must be built like {source} to start from it; {name} is {here} in the head and {there} "
                "there; "
                "create the head so, or leave it as it is drawn"
            )
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(origin[name])
    return sorted(target)


def _states(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Parameters and buffers by name; they share memory with the modules."""
    return {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else "x".join(map(str, tensor.shape))
