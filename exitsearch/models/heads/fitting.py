"""Which candidates a backbone's placements can carry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from exitsearch.errors import UnsupportedError
from exitsearch.models.heads.registry import check_fits, list_heads
from exitsearch.specs.placement import Placement
from exitsearch.specs.question.candidates import Candidates, Pair


def fitting_exits(
    placements: Sequence[Placement], candidates: Candidates | None = None, *, known: Iterable[str] | None = None
) -> list[Pair]:
    """Every (placement, head) that may be chosen and that fits, by placement, heads in the order they were named.

    Args:
        placements: of the backbone, all of them.
        candidates: what may be chosen; None allows everything.
        known: heads that there are, where none are named; None means every registered head type.

    Raises:
        InputError: an unknown head or option, a placement that does not exist, or heads that contradict each other.
        UnsupportedError: a named head fits none of its placements; says why.
    """
    candidates = candidates or Candidates()
    known = [head.name for head in list_heads()] if known is None else known
    found: list[Pair] = []
    for text, allowed in candidates.allowed(known, len(placements), facts=placements).items():
        refusals = {place: check_fits(text, placements[place]) for place in allowed}
        fitting = [place for place, refusal in refusals.items() if refusal is None]
        if candidates.names_heads and refusals and not fitting:
            raise UnsupportedError(
                f"{text} fits none of the placements: {next(iter(refusals.values()))}; "
                "choose another head, or other options"
            )
        found.extend((place, text) for place in fitting)
    return sorted(found, key=lambda pair: pair[0])
