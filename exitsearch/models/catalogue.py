"""Which backbones there are: every model of timm, the embedded ones and those of plugins."""

from __future__ import annotations

from dataclasses import dataclass

import timm

from exitsearch.models import embedded as embedded  # registers the embedded backbones with timm
from exitsearch.specs.backbone import PACKAGED_NAMES


@dataclass(frozen=True)
class BackboneEntry:
    """A model that `create_backbone` can make: its name, timm's module it is from, and its pretrained tags."""

    name: str
    family: str
    tags: tuple[str, ...]


def list_backbones() -> list[BackboneEntry]:
    """Every model of timm, the embedded default first, and then those that plugins registered with timm."""
    tags: dict[str, list[str]] = {}
    for full in timm.list_pretrained():
        name, _, tag = full.partition(".")
        tags.setdefault(name, []).append(tag)
    families = {name: family for family in timm.list_modules() for name in timm.list_models(module=family)}
    names = [*PACKAGED_NAMES, *(name for name in timm.list_models() if name not in PACKAGED_NAMES)]
    return [
        BackboneEntry(
            name, "embedded" if name in PACKAGED_NAMES else families.get(name, "plugin"), tuple(tags.get(name, ()))
        )
        for name in names
    ]
