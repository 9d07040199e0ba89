"""Building a problem: a profile, outcomes and a request brought together, limits and all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from exitsearch.errors import InputError, one_of
from exitsearch.search.matching import matching_exits
from exitsearch.search.problem import Candidate, Problem
from exitsearch.search.valuation import Valued, fallback_value
from exitsearch.specs.budget import parse_budget
from exitsearch.specs.head import HeadChoice
from exitsearch.specs.limits import Limits, parse_exit, parse_floor
from exitsearch.specs.memory import head_held_bytes, held_bytes
from exitsearch.specs.outcomes import as_value
from exitsearch.specs.profile import HeadCost, Profile
from exitsearch.specs.request import SearchRequest


def build_problem(
    profile: Profile, outcomes: Valued, request: SearchRequest, *, split: str | None = None
) -> tuple[Problem, list[str]]:
    """Bring a profile and outcomes together for a request.

    Args:
        profile: a timed profile.
        outcomes: values of the same backbone's heads.
        request: what is asked. Heads of a search space that a document does not hold are warned of.
        split: split of the outcomes to choose on; None takes the one meant for it.

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
    values = outcomes.values(split)
    chosen, further = matching_exits(profile, outcomes, request.candidates, costs=costs, values=values)
    # What the part after a head takes longer delays all but the head's own answer. Counted with the head and taken off
    # its arrival it does so in every formula: sums of arrivals and heads are those of `Profile.path_ms`.
    arrival, resume = profile.arrival_ms, profile.resume_ms
    arrival_mj = np.cumsum([segment.energy_mj or 0.0 for segment in profile.segments])
    problem = Problem(
        candidates=tuple(
            Candidate(
                placement=place,
                head=head,
                arrival_ms=float(arrival[place] - resume[place]),
                head_ms=float((costs[place, head].latency_ms or 0.0) + resume[place]),
                value=values[place, head],
                takes={
                    "params": costs[place, head].params or 0,
                    "arrival_mj": float(arrival_mj[place]),
                    "head_mj": costs[place, head].energy_mj or 0.0,
                },
            )
            for place, head in chosen
        ),
        final_ms=profile.full_ms,
        final_value=outcomes.final_value(split),
        backbone={"energy": float(arrival_mj[-1]) + (profile.final.energy_mj or 0.0)},
        fallback=fallback_value(outcomes, request.fallback),
        budget=parse_budget(request.budget).resolved(profile.full_ms),
        slowdown=tuple(sorted(profile.slowdown)),
        policy=request.policy,
        quantile=request.quantile,
        max_exits=request.limits.max_exits,
    )
    return _with_limits(problem, profile, outcomes, request.limits), [*warnings, *further]


def _with_limits(problem: Problem, profile: Profile, outcomes: Valued, limits: Limits) -> Problem:
    """A problem with all limits but the most exits, which it has from the start.

    `max_memory` holds for the whole model: weights of backbone and heads, and the largest input and output that any
    one part holds together, at the profile's batch size. `max_energy` holds for an answer (`Problem.taken`).

    Scores in `min_value_at` are of the outcomes' metric, so for `mae` the most error.
    """
    # What may not be chosen breaks no limit, and needs no known costs.
    problem = forced(problem, limits.force, limits.forbid)
    heads = {(cost.placement, cost.head): cost for cost in profile.heads}
    mine = [heads[candidate.placement, candidate.head] for candidate in problem.candidates]
    if limits.max_extra_params is not None and any(cost.params is None for cost in mine):
        raise InputError("the profile does not know the parameters of every head, so --max-extra-params cannot hold")
    if limits.max_energy is not None:
        if not all(cost.energy_mj is not None for cost in (*profile.segments, profile.final, *mine)):
            raise InputError(
                "the profile does not hold the energies of all segments and heads, so --max-energy cannot hold; make "
                "it again with exitsearch profile --energy"
            )
        if problem.backbone["energy"] > limits.max_energy:
            raise InputError(
                f"the backbone alone takes {problem.backbone['energy']:.4g} mJ an answer, more than the "
                f"{limits.max_energy:.4g} mJ allowed; raise --max-energy"
            )
    if limits.max_memory is not None:
        problem = _within_memory(problem, profile, mine, limits.max_memory)
    asked = {"params": limits.max_extra_params, "energy": limits.max_energy}
    min_values = [parse_floor(text, full_ms=problem.final_ms) for text in limits.min_value_at]
    return replace(
        problem,
        limits={**problem.limits, **{name: most for name, most in asked.items() if most is not None}},
        min_values=tuple((budget, as_value(least, outcomes.metric)) for budget, least in min_values),
    )


def _within_memory(problem: Problem, profile: Profile, heads: Sequence[HeadCost], most: int) -> Problem:
    """The problem with the bytes that its candidates add, and what the backbone leaves of so many bytes for them.

    Args:
        heads: the costs of the candidates.
        most: bytes of weights and activations of the whole model.
    """
    parts = [*profile.segments, profile.final]
    if any(part.weight_bytes is None or part.activation_bytes is None for part in (*parts, *heads)):
        raise InputError(
            "the profile does not know the bytes of weights and activations of every part, so --max-memory cannot "
            "hold; make it again with exitsearch profile"
        )
    held = held_bytes(profile, [])
    backbone = sum(part.weight_bytes or 0 for part in parts) + held
    if backbone > most:
        raise InputError(
            f"the backbone alone takes {backbone} bytes of weights and activations, more than the {most} allowed; "
            "raise --max-memory"
        )
    candidates = tuple(
        replace(
            candidate,
            takes={
                **candidate.takes,
                "memory_bytes": cost.weight_bytes or 0,
                "held_bytes": max(0, head_held_bytes(profile, cost) - held),
            },
        )
        for candidate, cost in zip(problem.candidates, heads, strict=True)
    )
    return replace(problem, candidates=candidates, limits={**problem.limits, "memory": most - backbone})


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
        raise InputError(f"{text} is no candidate; {known}")
    return place, head
