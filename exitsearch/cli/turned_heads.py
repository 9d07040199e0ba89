"""TurnedHeads: which heads the settings of a search may choose from, and where they fit."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from exitsearch.cli import options
from exitsearch.errors import InputError, UnsupportedError
from exitsearch.specs.head import HeadChoice
from exitsearch.specs.knobs import Setting
from exitsearch.specs.space import SearchSpace, SpaceHead, select_placements

if TYPE_CHECKING:
    from exitsearch.specs.placement import Placement

Exits = list[tuple[int, str]]


class TurnedHeads:
    """The candidate heads with their options as settings turn them.

    Args:
        args: of `exitsearch search`.
        space: with knobs.
        name: of the backbone.
        made_with: what `create_backbone` is called with.
        known: heads that have values; None means that any can be trained.

    Raises:
        InputError: a head, an option or a value that is wrong whatever the setting.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        space: SearchSpace,
        *,
        name: str,
        made_with: dict[str, Any],
        known: list[str] | None = None,
    ) -> None:
        self._args, self._space, self._name = args, space, name
        self._made_with = {**made_with, "pretrained": False, "checkpoint": None, "device": "meta"}
        self._placed: dict[int | None, tuple[Placement, ...]] = {}
        self._base = self._base_heads(known)
        self._check_knobs()

    def __repr__(self) -> str:
        return f"TurnedHeads({self._base}, {self._args.placements}, {self._space.placements})"

    def space(self, settings: Sequence[Setting]) -> SearchSpace:
        """What may be chosen: these settings' heads, and where they may stand."""
        heads = [self._turned(head, setting) for setting in settings for head in self._base]
        unique = {(str(head.choice), head.placements): head for head in heads}
        fitting = [head for head in unique.values() if self._fitting(head, settings[0].input_size)]
        return self._space.model_copy(update={"heads": fitting})

    def everywhere(self, setting: Setting) -> Exits:
        """Every (placement, head) that any setting of the same input size may choose."""
        heads = [self._turned(head, other) for other in self._space.knobs.settings(setting) for head in self._base]
        return sorted({pair for head in heads for pair in self._fitting(head, setting.input_size)})

    def groups(self, settings: Sequence[Setting]) -> dict[str, Exits]:
        """What is trained together: the heads that no knob turns, and every turned head by itself.

        Raises:
            UnsupportedError: a head that was named or turned fits nowhere.
        """
        named = bool(self._space.heads or self._args.heads)
        groups: dict[str, set[tuple[int, str]]] = {}
        for setting in settings:
            for head in self._base:
                turned = self._turned(head, setting)
                exits = self._fitting(turned, setting.input_size)
                if not exits and (named or head.type in setting.heads):
                    reasons = [reason for reason in self._refusals(turned, setting.input_size).values() if reason]
                    raise UnsupportedError(reasons[0] if reasons else f"{turned.choice} may stand at no placement")
                label = str(turned.choice) if head.type in setting.heads else "heads"
                groups.setdefault(label, set()).update(exits)
        return {label: sorted(exits) for label, exits in groups.items() if exits}

    def _base_heads(self, known: list[str] | None) -> list[SpaceHead]:
        """The candidate heads, before any knob is turned."""
        from exitsearch.models.heads import list_heads

        named = options.candidate_heads(self._args, None)
        if self._space.heads:
            found = [head for head in self._space.heads if named is None or str(head.choice) in named]
            if not found:
                raise InputError(f"--heads names none of the space's heads, found {self._args.heads}")
            return found
        choices = [HeadChoice.parse(text) for text in named or known or [head.name for head in list_heads()]]
        return [SpaceHead(type=choice.type, options=choice.options) for choice in choices]

    def _check_knobs(self) -> None:
        from exitsearch.models.heads import check_fits
        from exitsearch.models.heads.registry import get_head_type

        knobs = self._space.knobs.heads
        for name in knobs:
            get_head_type(name)
            if name not in {head.type for head in self._base}:
                raise InputError(f"the knob heads.{name} turns no candidate; name {name} among the heads")
        first = self._placements(None)[0]
        for name, keys in knobs.items():
            for key, values in keys.items():
                for value in values:
                    check_fits(HeadChoice(name, {key: value}), first)  # raises for what is wrong anywhere

    def _turned(self, head: SpaceHead, setting: Setting) -> SpaceHead:
        """A head with a setting's options; those at their defaults are left out, so that each has one name."""
        from exitsearch.models.heads.registry import get_head_type

        if head.type not in setting.heads:
            return head
        defaults = get_head_type(head.type).options
        turned = {**head.options, **setting.heads[head.type]}
        return head.model_copy(update={"options": {k: v for k, v in turned.items() if v != defaults[k]}})

    def _placements(self, size: int | None) -> tuple[Placement, ...]:
        """Placements of the backbone at an input size."""
        from exitsearch.models.backbone import create_backbone

        if size not in self._placed:
            made = self._made_with if size is None else {**self._made_with, "image_size": size}
            self._placed[size] = create_backbone(self._name, **made).placements
        return self._placed[size]

    def _fitting(self, head: SpaceHead, size: int | None) -> Exits:
        """Every placement where a head may stand and fits."""
        return [(place, str(head.choice)) for place, refusal in self._refusals(head, size).items() if refusal is None]

    def _refusals(self, head: SpaceHead, size: int | None) -> dict[int, str | None]:
        from exitsearch.models.heads import check_fits

        placements = self._placements(size)
        count = len(placements)
        asked = options.candidate_placements(self._args, self._space, count, placements=placements)
        here = set(select_placements(head.placements, count, placements=placements))
        allowed = sorted(here if asked is None else here & set(asked))
        return {place: check_fits(head.choice, placements[place]) for place in allowed}
