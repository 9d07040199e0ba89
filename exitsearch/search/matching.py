"""Whether the costs and the values of two documents are of the same exits, and what is lost where they are not.

Documents that exitsearch made may hold other heads each, on purpose. In a table that a user brings, a pair without its
counterpart is more often a slip, and the commonest slip is to count placements from 1.
"""

from __future__ import annotations

from collections.abc import Collection

from exitsearch.errors import InputError
from exitsearch.search.valuation import Valued
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.candidates import Candidates, Pair

Pairs = Collection[Pair]


def matching_exits(
    profile: Profile, outcomes: Valued, rule: Candidates, *, costs: Pairs, values: Pairs
) -> tuple[list[Pair], list[str]]:
    """The exits that both documents hold and that may be chosen, sorted, and what a user must know of the others.

    Args:
        rule: what may be chosen.
        costs: (placement, head) pairs with costs.
        values: the same with values.

    Raises:
        InputError: a wanted head is missing in a document, nothing is left to choose, or most values of a table that a
            user brought have no cost.
    """
    both = set(costs) & set(values)
    known, count = {head for _, head in both}, len(profile.segments)
    for head in rule.heads or ():
        if head not in known:
            raise InputError(
                f"{_lacking(head, costs)} no head {head!r}; heads in both: {', '.join(sorted(known))}; "
                "name one of these with --heads"
            )
    allowed = rule.allowed({head for _, head in (*costs, *values)}, count, facts=profile.placements)
    # A placement that the profile does not have is in nobody's list, and is left out all the same.
    everywhere = not rule.names_placements

    def wanted(pair: Pair) -> bool:
        place, head = pair
        return head in allowed and (place in allowed[head] or (everywhere and place >= count))

    chosen = sorted(filter(wanted, both))
    if not chosen:
        missing = next((pair for pair in sorted(values) if pair not in both), None)
        example = f"; the profile lacks for example {missing[1]} at placement {missing[0]}" if missing else ""
        guess = _off_by_one(costs, values, count)
        raise InputError(
            f"no exit head is left to choose from: profile and outcomes share {len(both)} (placement, head) pairs, of "
            f"which heads, placements and space allow none{example}{'; ' + guess if guess else ''}; allow "
            "more of them, or bring tables that go together"
        )
    lacking = {str(head.choice) for head in rule.space_heads} - known
    notes = [
        f"the space names head {head!r}, of which {_lacking(head, costs)} nothing: it is left out"
        for head in sorted(lacking)
    ]
    return chosen, notes + _unmatched(
        profile,
        outcomes,
        costs=[pair for pair in costs if wanted(pair) and pair[1] not in lacking],
        values=[pair for pair in values if wanted(pair) and pair[1] not in lacking],
    )


def _lacking(head: str, costs: Pairs) -> str:
    """Which document does not hold a head that the two do not share."""
    return "the outcomes hold" if any(name == head for _, name in costs) else "the profile holds"


def _unmatched(profile: Profile, outcomes: Valued, *, costs: Pairs, values: Pairs) -> list[str]:
    """What a user must know of the pairs that only one document holds; nothing where there are none."""
    count = len(profile.segments)
    brought = profile.verdict.status == "given" or set(outcomes.splits) == {"given"}
    no_cost = sorted(set(values) - set(costs))
    no_value = sorted(set(costs) - set(values))
    if not brought:  # a head or a placement that is nowhere else is no slip; one that cannot exist is
        no_cost, no_value = [pair for pair in no_cost if pair[0] >= count], []
    said = []
    if no_cost:
        said.append(f"{len(no_cost)} of {len(values)} values have no cost in the profile ({_example(no_cost)})")
    if no_value:
        said.append(f"{len(no_value)} of {len(costs)} heads of the profile have no value ({_example(no_value)})")
    if not said:
        return []
    guess = _off_by_one(costs, values, count)
    known = {head for _, head in costs}
    shared = [pair for pair in values if pair[1] in known]
    if 2 * len(set(shared) & set(no_cost)) > len(shared):
        raise InputError(
            f"most values of the heads that both tables name cannot be used: {'; '.join(said)}; "
            f"{guess or f'placements run from 0 to {count - 1}'}; mend the table, or say with --placements and "
            "--heads what is meant"
        )
    return [f"{'; '.join(said)}: left out{'; ' + guess if guess else ''}"]


def _off_by_one(costs: Pairs, values: Pairs, count: int) -> str | None:
    """Says so where more values would have a cost if one document counted placements from one number further."""
    matching = {step: len({(place + step, head) for place, head in values} & set(costs)) for step in (0, -1, 1)}
    step = max((-1, 1), key=lambda step: matching[step])
    outside = any(place >= count for place, _ in values)
    # A table from 1 on of exits at every placement fits everywhere but at its end.
    from_one = bool(values) and outside and min(place for place, _ in values) == 1
    if matching[step] <= matching[0] and not from_one:
        return None
    which = "values" if step == -1 or from_one else "costs"
    return f"placements are numbered from 0, and it looks as if the table of {which} counts from 1"


def _example(pairs: list[tuple[int, str]]) -> str:
    place, head = pairs[-1]
    return f"for example {head} at placement {place}" if len(pairs) > 1 else f"{head} at placement {place}"
