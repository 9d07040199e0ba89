"""SettingHeads: which heads the settings of a search may choose from, and where they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from exitsearch.errors import InputError, UnsupportedError
from exitsearch.pipeline.backbone import BackboneRequest
from exitsearch.specs.head import HeadChoice, Option
from exitsearch.specs.question.candidates import Candidates, Pair
from exitsearch.specs.question.knobs import Setting
from exitsearch.specs.question.limits import Limits, parse_exit
from exitsearch.specs.question.space import SearchSpace, SpaceHead

if TYPE_CHECKING:
    from exitsearch.specs.placement import Placement


class SettingHeads:
    """The candidate heads of each setting: those of the request, with their options as the setting turns them.

    Args:
        candidates: of the request.
        space: with knobs.
        backbone: that carries them.
        known: heads that have values; None means that any can be trained.

    Raises:
        InputError: a head, an option or a value that is wrong whatever the setting.
    """

    def __init__(
        self,
        candidates: Candidates,
        space: SearchSpace,
        *,
        backbone: BackboneRequest,
        known: Sequence[str] | None = None,
    ) -> None:
        from exitsearch.models.heads import list_heads

        self._rule, self._space, self._backbone = candidates, space, backbone
        self._placed: dict[int | None, tuple[Placement, ...]] = {}
        self._fitted: dict[tuple[object, ...], list[Pair]] = {}
        self._base = candidates.choices([head.name for head in list_heads()] if known is None else known)
        self._check_knobs()

    @property
    def key(self) -> str:
        """What the candidates of all settings depend on."""
        heads = [f"{head.choice}@{head.placements}" for head in self._base]
        return repr((heads, self._rule.placements, self._rule.space_placements))

    def candidates(self, settings: Sequence[Setting]) -> Candidates:
        """What may be chosen: these settings' heads, and where they may stand."""
        heads = [self._turned(head, setting) for setting in settings for head in self._base]
        unique = {(str(head.choice), head.placements): head for head in heads}
        fitting = [head for head in unique.values() if self._fitting([head], settings[0].input_size)]
        # No heads of a space would allow all.
        return self._rule.model_copy(update={"heads": None if fitting else [], "space_heads": fitting})

    def everywhere(self, setting: Setting) -> list[Pair]:
        """Every (placement, head) that any setting of the same input size may choose."""
        return sorted(set(self._fitting(self._all(setting), setting.input_size)))

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

    def groups(self, settings: Sequence[Setting]) -> dict[str, list[Pair]]:
        """What is trained together: the heads that no knob turns, and every turned head by itself.

        Raises:
            UnsupportedError: a head that was named or turned fits nowhere.
        """
        groups: dict[str, set[Pair]] = {}
        for setting in settings:
            for head in self._base:
                turned = self._turned(head, setting)
                named = self._rule.names_heads or head.type in setting.heads
                exits = self._fitting([turned], setting.input_size, named=named)
                if not exits and named:
                    raise UnsupportedError(
                        f"{turned.choice} may stand at no placement; choose another head, or other placements"
                    )
                label = str(turned.choice) if head.type in setting.heads else "heads"
                groups.setdefault(label, set()).update(exits)
        return {label: sorted(exits) for label, exits in groups.items() if exits}

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
            raise InputError(
                f"{text} is no candidate in any setting; the candidate heads are {', '.join(known)}; name one of them"
            )
        return f"{place}:{choice}"

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
        if size not in self._placed:
            backbone = self._backbone if size is None else self._backbone.changed(image_size=size)
            self._placed[size] = backbone.create(device="meta").placements
        return self._placed[size]

    def _fitting(self, heads: Sequence[SpaceHead], size: int | None, *, named: bool = False) -> list[Pair]:
        """Every placement where some heads may stand and fit.

        Args:
            named: whether a head that fits nowhere is an error.
        """
        from exitsearch.models.heads import fitting_exits

        found = []
        for head in heads:
            key = (str(head.choice), head.placements, size)
            if key not in self._fitted or (named and not self._fitted[key]):
                rule = self._rule.model_copy(update={"heads": None, "space_heads": [head]})
                try:
                    self._fitted[key] = fitting_exits(self._placements(size), rule)
                except UnsupportedError:
                    if named:
                        raise
                    self._fitted[key] = []
            found += self._fitted[key]
        return found


def _without_defaults(name: str, given: Mapping[str, Option]) -> dict[str, Option]:
    """A head type's options without those at their defaults."""
    from exitsearch.models.heads.registry import get_head_type

    defaults = get_head_type(name).options
    return {key: value for key, value in given.items() if key not in defaults or value != defaults[key]}
