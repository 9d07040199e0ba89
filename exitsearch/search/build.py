"""Building a problem: a profile, outcomes and a request brought together, limits and all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from exitsearch.errors import InputError, one_of
from exitsearch.search.matching import matching_exits
from exitsearch.search.problem import Candidate, Problem
from exitsearch.search.resources import RESOURCES, Resource
from exitsearch.search.valuation import Valued, fallback_value
from exitsearch.specs.budget import parse_budget
from exitsearch.specs.head import HeadChoice
from exitsearch.specs.outcomes import as_value
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.candidates import Pair
from exitsearch.specs.question.limits import Limits, parse_exit, parse_min_value
from exitsearch.specs.question.request import SearchRequest


def build_problem(
    profile: Profile,
    outcomes: Valued,
    request: SearchRequest,
    *,
    split: str | None = None,
    supposed: Mapping[Pair, float] | None = None,
) -> tuple[Problem, list[str]]:
    """Bring a profile and outcomes together for a request.

    Args:
        profile: a timed profile.
        outcomes: values of the same backbone's heads.
        request: what is asked. Heads of a search space that a document does not hold are warned of.
        split: split of the outcomes to choose on; None takes the one meant for it.
        supposed: values of further (placement, head) pairs, which the outcomes do not hold.

    Returns:
        The problem, and warnings: small differences between the two documents, heads of a space and pairs left out.

    Raises:
        InputError: the profile holds no times, a wanted head is missing in a document, nothing is left to choose, or
            a limit names no candidate or something that the profile knows nothing about.
        MismatchError: the two documents are of different backbones.
    """
    warnings = profile.backbone.check_same(outcomes.backbone, mine="the profile", others="the outcomes")
    if not profile.is_timed:
        raise InputError("this profile only counts operations; measure times with exitsearch profile")
    if split is not None and split not in outcomes.splits:
        raise one_of("split", split, outcomes.splits)
    costs = {(cost.placement, cost.head): cost for cost in profile.heads}
    values = {**(supposed or {}), **outcomes.values(split)}
    chosen, further = matching_exits(profile, outcomes, request.candidates, costs=costs, values=values)
    times = exit_times(profile, chosen)
    problem = Problem(
        candidates=tuple(
            Candidate(
                placement=place,
                head=head,
                arrival_ms=arrival_ms,
                head_ms=head_ms,
                value=values[place, head],
            )
            for (place, head), (arrival_ms, head_ms) in zip(chosen, times, strict=True)
        ),
        final_ms=profile.full_ms,
        final_value=outcomes.final_value(split),
        fallback=fallback_value(outcomes, request.fallback),
        budget=parse_budget(request.budget).resolved(profile.full_ms),
        slowdown=tuple(sorted(profile.slowdown)),
        policy=request.policy,
        quantile=request.quantile,
        max_exits=request.limits.max_exits,
    )
    for row in RESOURCES.values():
        if row.source is not None and row.source.always:
            problem = _measured(problem, profile, row)[0]
    return _with_limits(problem, profile, outcomes, request.limits), [*warnings, *further]


def exit_times(profile: Profile, exits: Iterable[Pair]) -> list[tuple[float, float]]:
    """`arrival_ms` and `head_ms` of some exits, as a `Candidate` has them.

    What the part after a head takes longer delays all but the head's own answer. Counted with the head and taken off
    its arrival it does so in every formula: sums of arrivals and heads are those of `Profile.path_ms`.

    Raises:
        InputError: the profile holds no such head.
    """
    arrival, resume = profile.arrival_ms, profile.resume_ms
    costs = {(cost.placement, cost.head): cost.latency_ms or 0.0 for cost in profile.heads}
    found = []
    for place, head in exits:
        own = costs[place, head] if (place, head) in costs else profile.head_ms(place, head)  # which says what is there
        found.append((float(arrival[place] - resume[place]), float(own + resume[place])))
    return found


def _measured(problem: Problem, profile: Profile, resource: Resource) -> tuple[Problem, bool]:
    """A problem with what the profile says of a resource, and whether it says all."""
    assert resource.source is not None
    costs = {(cost.placement, cost.head): cost for cost in profile.heads}
    found = resource.source.measure(profile, [costs[c.placement, c.head] for c in problem.candidates])
    candidates = tuple(
        replace(candidate, takes={**candidate.takes, **takes})
        for candidate, takes in zip(problem.candidates, found.heads, strict=True)
    )
    backbone = {**problem.backbone, resource.name: found.backbone}
    return replace(problem, candidates=candidates, backbone=backbone), found.known


def _with_limits(problem: Problem, profile: Profile, outcomes: Valued, limits: Limits) -> Problem:
    """A problem with all limits but the most exits, which it has from the start.

    `max_memory` holds for the whole model: weights of backbone and heads, and the largest input and output that any
    one part holds together, at the profile's batch size. `max_energy` holds for an answer (`Problem.taken`).

    Scores in `min_value_at` are of the outcomes' metric, so for `mae` the most error.
    """
    # What may not be chosen breaks no limit, and needs no known costs.
    problem = forced(problem, limits.force, limits.forbid)
    for row in RESOURCES.values():
        most = None if row.source is None else getattr(limits, row.source.limit)
        if most is not None:
            problem = _limited(problem, profile, row, most)
    min_values = [parse_min_value(text, full_ms=problem.final_ms) for text in limits.min_value_at]
    least = tuple((budget, as_value(least, outcomes.metric)) for budget, least in min_values)
    return replace(problem, min_values=least)


def _limited(problem: Problem, profile: Profile, resource: Resource, most: float) -> Problem:
    """The problem with a limit on a resource, and what the profile says of it."""
    source = resource.source
    assert source is not None
    problem, known = _measured(problem, profile, resource)
    if not known:
        raise InputError(f"{source.unknown}, so {source.option} cannot hold; {source.remedy}")
    own = problem.backbone[resource.name]
    if own > most:
        raise InputError(
            f"the backbone alone takes {source.amount.format(own)}{source.whose}, more than the "
            f"{source.amount.format(most)} allowed; raise {source.option}"
        )
    if source.taken_off:
        most -= own
        problem = replace(problem, backbone={**problem.backbone, resource.name: 0})
    return replace(problem, limits={**problem.limits, resource.name: most})


def forced(problem: Problem, force: Iterable[str], forbid: Iterable[str]) -> Problem:
    """A problem in which some exits must stand and others must not.

    Args:
        force: `PLACEMENT` (any head there) or `PLACEMENT:HEAD`.
        forbid: the same.

    Raises:
        InputError: one that cannot be read or is no candidate, or two that contradict each other.
    """
    candidates, places = list(problem.candidates), set(problem.forced)
    for text in forbid:
        place, head = _exit(problem, text)
        candidates = [c for c in candidates if c.placement != place or (head is not None and c.head != head)]
    for text in force:
        place, head = _exit(problem, text)
        candidates = [c for c in candidates if c.placement != place or head is None or c.head == head]
        if not any(c.placement == place for c in candidates):
            raise InputError(f"{text} is forced in, and forbidden or contradicted by another --force; leave one out")
        places.add(place)
    return replace(problem, candidates=tuple(candidates), forced=tuple(sorted(places)))


def _exit(problem: Problem, text: str) -> tuple[int, str | None]:
    place, name = parse_exit(text)
    head = None if name is None else str(HeadChoice.parse(name))
    here = [c.head for c in problem.candidates if c.placement == place]
    if not here or (head is not None and head not in here):
        known = f"the candidates there are {', '.join(here)}" if here else "there is no candidate at that placement"
        raise InputError(
            f"{text} is no candidate; {known}; name one that is (exitsearch list placements, exitsearch list heads)"
        )
    return place, head
