"""Candidates: which (placement, head) pairs may be chosen. The only rule of selection; every command goes through it.

A request names heads and placements, and a search space may name some too, with placements of their own. Both hold:
what remains is the intersection, pair by pair.

>>> from exitsearch.specs.question.space import SearchSpace
>>> heads = [{"type": "lph", "placements": "3-4"}, {"type": "gah", "placements": "4-9"}]
>>> space = SearchSpace(schema_version=1, placements="3-8", heads=heads)
>>> Candidates.of(placements="0-5", space=space).allowed((), 12)
{'lph': (3, 4), 'gah': (4, 5)}
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

from exitsearch.errors import InputError
from exitsearch.specs.document import Part
from exitsearch.specs.head import HeadChoice, split_heads
from exitsearch.specs.placement import Placement, select_placements
from exitsearch.specs.question.space import SearchSpace, SpaceHead

Pair = tuple[int, str]


class Candidates(Part):
    """What was asked for, before a backbone, a profile or outcomes say what there is.

    Attributes:
        heads: texts of heads (`gah(stride=2)`); None means all.
        placements: a text (`0,2,4-8`, `stages`) or numbers; None means all.
        space_heads: heads of the search space, each with where it may stand; empty means all.
        space_placements: placements of the search space, a text; None means all.
    """

    heads: list[str] | None = None
    placements: str | list[int] | None = None
    space_heads: list[SpaceHead] = []
    space_placements: str | None = None

    @classmethod
    def of(
        cls,
        *,
        heads: str | Iterable[str] | None = None,
        placements: str | Iterable[int] | None = None,
        space: SearchSpace | None = None,
    ) -> Self:
        """What options and a search space allow together.

        Args:
            heads: head types with or without options, as a text with commas or one by one; None allows all.
            placements: a text as `select_placements` takes it, or numbers; None allows all.
            space: further bounds; None has none.

        Raises:
            InputError: a head that cannot be read.
        """
        if heads is not None:
            texts = split_heads(heads) if isinstance(heads, str) else [str(HeadChoice.parse(text)) for text in heads]
            heads = list(dict.fromkeys(texts))
        if placements is not None and not isinstance(placements, str):
            placements = sorted(set(placements))
        return cls(
            heads=heads,
            placements=placements,
            space_heads=space.heads if space else [],
            space_placements=space.placements if space else None,
        )

    @property
    def names_heads(self) -> bool:
        """Whether heads were named, so that one which fits nowhere is an error."""
        return self.heads is not None or bool(self.space_heads)

    @property
    def names_placements(self) -> bool:
        """Whether placements were named that are not all of them, for every head alike."""
        named = (self.placements, self.space_placements)
        return any(text is not None and text != "all" for text in named)

    def choices(self, known: Iterable[str]) -> list[SpaceHead]:
        """The heads to choose from, in the order in which they were named, each with its own placements.

        Args:
            known: texts of all heads that there are, where none are named.

        Raises:
            InputError: the heads that were asked for are none of the space's.
        """
        if not self.space_heads:
            named = map(HeadChoice.parse, known if self.heads is None else self.heads)
            return [SpaceHead(type=choice.type, options=choice.options) for choice in named]
        found = [head for head in self.space_heads if self.heads is None or str(head.choice) in self.heads]
        if not found and self.heads:
            theirs = ", ".join(dict.fromkeys(str(head.choice) for head in self.space_heads))
            raise InputError(
                f"--heads names none of the space's heads, found {','.join(self.heads)}; the space has {theirs}; "
                "name some of these, or leave --heads out"
            )
        return found

    def allowed(
        self, known: Iterable[str], count: int, *, facts: Sequence[Placement] = ()
    ) -> dict[str, tuple[int, ...]]:
        """The placements where each head may stand, by its text, in the order of `choices`.

        Args:
            known: texts of all heads that there are.
            count: how many placements there are.
            facts: of the placements, where they are known, for texts that choose by them.

        Raises:
            InputError: a text that cannot be read, or a placement that does not exist.
        """
        everywhere = self._numbers(count, facts)
        found: dict[str, set[int]] = {}
        for head in self.choices(known):
            here = set(select_placements(head.placements, count, placements=facts)) & everywhere
            found.setdefault(str(head.choice), set()).update(here)
        return {text: tuple(sorted(places)) for text, places in found.items()}

    def among(self, pairs: Iterable[Pair], count: int, *, facts: Sequence[Placement] = ()) -> list[Pair]:
        """Those of some (placement, head) pairs that may be chosen, sorted.

        Args:
            pairs: what there is, heads as canonical texts.
            count: how many placements there are.
            facts: of the placements, where they are known.

        Raises:
            InputError: as `allowed`.
        """
        pairs = sorted(pairs)
        allowed = self.allowed(dict.fromkeys(head for _, head in pairs), count, facts=facts)
        return [(place, head) for place, head in pairs if place in allowed.get(head, ())]

    def _numbers(self, count: int, facts: Sequence[Placement]) -> set[int]:
        """Placements that both sides allow, whatever the head."""
        theirs = set(select_placements(self.space_placements, count, placements=facts))
        if self.placements is None or isinstance(self.placements, str):
            return theirs & set(select_placements(self.placements, count, placements=facts))
        if strange := [place for place in self.placements if not 0 <= place < count]:
            raise InputError(f"placements run from 0 to {count - 1}, found {strange[0]}; name placements among these")
        return theirs & set(self.placements)
