"""TurnedHeads: which heads the settings of a search may choose from, and where they fit."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from exitsearch.cli import options
from exitsearch.errors import InputError, UnsupportedError
from exitsearch.specs.head import HeadChoice, Option
from exitsearch.specs.knobs import Setting
from exitsearch.specs.limits import Limits, parse_exit
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
        self._refused: dict[tuple[object, ...], dict[int, str | None]] = {}
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
        return sorted({pair for head in self._all(setting) for pair in self._fitting(head, setting.input_size)})

    def limits(self, limits: Limits, otherwise: Setting) -> Limits:
        """Limits whose exits are named as candidates are: turned options at their defaults left out.

        Args:
            otherwise: the values of what is no knob.

        Raises:
            InputError: a head that is a candidate in no setting.
        """
        known = sorted({str(head.choice) for head in self._all(otherwise)})
        update = {name: [self._named(text, known) for text in getattr(limits, name)] for name in ("force", "forbid")}
        return limits.model_copy(update=update)

    def _all(self, setting: Setting) -> list[SpaceHead]:
        """The heads of every setting, each once."""
        heads = [self._turned(head, other) for other in self._space.knobs.settings(setting) for head in self._base]
        return list({(str(head.choice), head.placements): head for head in heads}.values())

    def _named(self, text: str, known: Sequence[str]) -> str:
        place, name = parse_exit(text)
        if name is None:
            return text
        choice = HeadChoice.parse(name)
        if choice.type in self._space.knobs.heads:
            choice = HeadChoice(choice.type, _without_defaults(choice.type, choice.options))
        if str(choice) not in known:
            raise InputError(f"{text} is no candidate in any setting; the candidate heads are {', '.join(known)}")
        return f"{place}:{choice}"

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
        for head in self._base:
            check_fits(head.choice, first)

    def _turned(self, head: SpaceHead, setting: Setting) -> SpaceHead:
        """A head with a setting's options; those at their defaults are left out, so that each has one name."""
        if head.type not in setting.heads:
            return head
        turned = {**head.options, **setting.heads[head.type]}
        return head.model_copy(update={"options": _without_defaults(head.type, turned)})

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

        key = (str(head.choice), head.placements, size)
        if key in self._refused:
            return self._refused[key]
        placements = self._placements(size)
        count = len(placements)
        asked = options.candidate_placements(self._args, self._space, count, placements=placements)
        here = set(select_placements(head.placements, count, placements=placements))
        allowed = sorted(here if asked is None else here & set(asked))
        self._refused[key] = {place: check_fits(head.choice, placements[place]) for place in allowed}
        return self._refused[key]


def _without_defaults(name: str, given: Mapping[str, Option]) -> dict[str, Option]:
    """A head type's options without those at their defaults."""
    from exitsearch.models.heads.registry import get_head_type

    defaults = get_head_type(name).options
    return {key: value for key, value in given.items() if key not in defaults or value != defaults[key]}
