"""Whether the costs and the values of two documents are of the same exits, and what is lost where they are not.

Documents that exitsearch made may hold other heads each, on purpose. In a table that a user brings, a pair without its
counterpart is more often a slip, and the commonest slip is to count placements from 1.
"""

from __future__ import annotations

from collections.abc import Collection

from exitsearch.errors import InputError
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile

Pairs = Collection[tuple[int, str]]


def unmatched(profile: Profile, outcomes: Outcomes, *, costs: Pairs, values: Pairs) -> list[str]:
    """What a user must know of the pairs that only one document holds; nothing where there are none.

    Args:
        costs: (placement, head) pairs with costs, of those that are asked for.
        values: the same with values; those at placements that the profile does not have among them.

    Raises:
        InputError: in a table that a user brought, most values of the heads that both documents hold have no cost.
    """
    count = len(profile.segments)
    brought = profile.verdict.status == "given" or set(outcomes.splits) == {"given"}
    no_cost = sorted(set(values) - set(costs))
    no_value = sorted(set(costs) - set(values))
    if not brought:  # a head or a placement that is nowhere else is no slip; one that cannot exist is
        no_cost, no_value = [pair for pair in no_cost if pair[0] >= count], []
    known = {head for _, head in costs}
    shared = {pair for pair in values if pair[1] in known}
    lost = [pair for pair in no_cost if pair in shared]
    said = []
    if no_cost:
        said.append(f"{len(no_cost)} of {len(values)} values have no cost in the profile ({_example(no_cost)})")
    if no_value:
        said.append(f"{len(no_value)} of {len(costs)} heads of the profile have no value ({_example(no_value)})")
    if not said:
        return []
    guess = _off_by_one(costs, values, count)
    if 2 * len(lost) > len(shared):
        raise InputError(
            f"most values of the heads that both tables name cannot be used: {'; '.join(said)}; "
            f"{guess or f'placements run from 0 to {count - 1}'}; mend the table, or say with --placements and "
            "--heads what is meant"
        )
    return [f"{'; '.join(said)}: left out{'; ' + guess if guess else ''}"]


def off_by_one(profile: Profile, *, costs: Pairs, values: Pairs) -> str:
    """A guess for two documents that share nothing, as the end of a sentence; empty where there is none."""
    guess = _off_by_one(costs, values, len(profile.segments))
    return f"; {guess}" if guess else ""


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
