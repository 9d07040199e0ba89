"""Limits on a choice: what the two exact solvers share about them, and how a problem gets them.

Both solvers drop a label as soon as it breaks a limit on exits, parameters, bytes or energy, and let a label stand in
for another only if it uses no more of anything limited and keeps to the same floors. To know early what is worth
carrying on, they need a good choice that keeps to the limits: a good one without limits, from which exits are taken
until it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from exitsearch.errors import InputError
from exitsearch.search.problem import Choice, Problem
from exitsearch.specs.config import Policy
from exitsearch.specs.head import HeadChoice
from exitsearch.specs.limits import Limits, parse_exit, parse_floor
from exitsearch.specs.memory import held_bytes
from exitsearch.specs.outcomes import Metric, as_value
from exitsearch.specs.profile import HeadCost, Profile


def scarce(problem: Problem) -> tuple[str, ...]:
    """Fields of a label whose sum is limited."""
    limits: dict[str, float | None] = {"params": problem.max_params, "memory": problem.max_memory_bytes}
    if problem.policy != "contract":  # there a limit on energy leaves candidates out, and sums up nothing
        limits["energy"] = problem.max_energy_mj
    return tuple(name for name, limit in limits.items() if limit is not None)


def floor_bits(problem: Problem, value: float, time_ms: float) -> int:
    """One bit for each floor that an answer of some value at some time keeps to."""
    return sum(
        1 << number for number, (budget, least) in enumerate(problem.floors) if value >= least and time_ms <= budget
    )


def within_limits(
    problem: Problem, choice: Choice, value: Callable[[Choice], float], most: int | None
) -> Choice | None:
    """A choice that keeps to the limits, made from another by taking exits away, the least valuable first.

    Where only exits are left that must stand, their heads are exchanged for others that break the limits less.

    Args:
        value: expected value of a choice.
        most: most exits, beside the problem's own limits; None means no further limit.

    Returns:
        The choice, or None where this does not lead to one.
    """
    limited = replace(problem, max_exits=most)
    while not limited.allows(choice):
        kept = [k for k, c in enumerate(problem.chosen(choice)) if c.placement not in problem.required]
        options = [choice[:k] + choice[k + 1 :] for k in kept]
        if options:
            choice = max(options, key=value)
            continue
        exchanged = [
            (*choice[:k], position, *choice[k + 1 :])
            for k, candidate in enumerate(problem.chosen(choice))
            for position in problem.by_placement[candidate.placement]
        ]
        best = min(exchanged, key=lambda option: _broken(limited, option), default=choice)
        if _broken(limited, best) >= _broken(limited, choice):
            return None
        choice = best
    return choice


def _broken(problem: Problem, choice: Choice) -> float:
    """By how much a choice breaks all limits together."""
    return sum(max(0.0, excess) for excess in problem.excess(choice).values())


def with_limits(problem: Problem, profile: Profile, limits: Limits, *, metric: Metric) -> Problem:
    """A problem with all limits but the most exits, which it has from the start.

    `max_memory` holds for the whole model: weights of backbone and heads, and the largest input and output that any
    one part holds together, at the profile's batch size. `max_energy` holds for an answer (`Problem.energy_mj`).

    Args:
        profile: that the problem was built from; it must know what is limited.
        limits: scores in `min_value_at` are of the metric, so for `mae` the most error.
        metric: of these scores.

    Raises:
        InputError: a limit that names no candidate, or that the profile knows nothing about.
    """
    check_floors(limits, problem.policy)
    heads = {(cost.placement, cost.head): cost for cost in profile.heads}
    mine = [heads[candidate.placement, candidate.head] for candidate in problem.candidates]
    if limits.max_extra_params is not None and any(cost.params is None for cost in mine):
        raise InputError("the profile does not know the parameters of every head, so --max-extra-params cannot hold")
    left = None
    if limits.max_memory is not None:
        if any(cost.weight_bytes is None for cost in mine):
            raise InputError("the profile does not know the bytes of every head, so --max-memory cannot hold")
        left = limits.max_memory - _backbone_bytes(profile, mine)
        if left < 0:
            raise InputError(
                f"the backbone alone takes {limits.max_memory - left} bytes of weights and activations, more than the "
                f"{limits.max_memory} allowed; raise --max-memory"
            )
    if limits.max_energy is not None:
        if not all(cost.energy_mj is not None for cost in (*profile.segments, profile.final, *mine)):
            raise InputError(
                "the profile does not hold the energies of all segments and heads, so --max-energy cannot hold; make "
                "it again with exitsearch profile --energy"
            )
        if problem.final_mj > limits.max_energy:
            raise InputError(
                f"the backbone alone takes {problem.final_mj:.4g} mJ an answer, more than the "
                f"{limits.max_energy:.4g} mJ allowed; raise --max-energy"
            )
    floors = [parse_floor(text, full_ms=problem.final_ms) for text in limits.min_value_at]
    limited = replace(
        problem,
        candidates=tuple(
            replace(candidate, memory_bytes=cost.weight_bytes or 0)
            for candidate, cost in zip(problem.candidates, mine, strict=True)
        ),
        max_params=limits.max_extra_params,
        max_memory_bytes=left,
        max_energy_mj=limits.max_energy,
        floors=tuple((budget, as_value(least, metric)) for budget, least in floors),
    )
    return forced(limited, limits.force, limits.forbid)


def check_floors(limits: Limits, policy: Policy) -> None:
    """Whether the limits go with a policy, before a profile is at hand.

    Raises:
        InputError: a least value at a budget under the policy confidence.
    """
    if limits.min_value_at and policy == "confidence":
        raise InputError(
            "a least value at a budget cannot be combined with the policy confidence, whose value depends on "
            "thresholds; choose --policy interruptible or contract"
        )


def _backbone_bytes(profile: Profile, heads: list[HeadCost]) -> int:
    """Weights of the backbone, and the largest input and output that one part holds together, whatever is chosen."""
    parts = [*profile.segments, profile.final]
    if any(part.weight_bytes is None or part.activation_bytes is None for part in (*parts, *heads)):
        raise InputError(
            "the profile does not know the bytes of weights and activations of every part, so --max-memory cannot "
            "hold; make it again with exitsearch profile"
        )
    return sum(part.weight_bytes or 0 for part in parts) + held_bytes(profile, heads)


def forced(problem: Problem, force: Iterable[str], forbid: Iterable[str]) -> Problem:
    """A problem in which some exits must stand and others must not.

    Args:
        force: `PLACEMENT` (any head there) or `PLACEMENT:HEAD`.
        forbid: the same.

    Raises:
        InputError: one that cannot be read or is no candidate, or two that contradict each other.
    """
    candidates, required = list(problem.candidates), set(problem.required)
    for text in forbid:
        place, head = _exit(problem, text)
        candidates = [c for c in candidates if c.placement != place or (head is not None and c.head != head)]
    for text in force:
        place, head = _exit(problem, text)
        candidates = [c for c in candidates if c.placement != place or head is None or c.head == head]
        if not any(c.placement == place for c in candidates):
            raise InputError(f"{text} is forced in, and forbidden or contradicted by another --force; leave one out")
        required.add(place)
    return replace(problem, candidates=tuple(candidates), required=tuple(sorted(required)))


def _exit(problem: Problem, text: str) -> tuple[int, str | None]:
    place, name = parse_exit(text)
    head = None if name is None else str(HeadChoice.parse(name))
    here = [c.head for c in problem.candidates if c.placement == place]
    if not here or (head is not None and head not in here):
        known = f"the candidates there are {', '.join(here)}" if here else "there is no candidate at that placement"
        raise InputError(f"{text} is no candidate; {known}")
    return place, head


def nothing_allowed(problem: Problem, *, proved: bool) -> InputError:
    """The error when no choice keeps to all limits.

    Args:
        proved: whether that is so, or only none was found.
    """
    limits = {
        f"at most {problem.max_exits} exits": problem.max_exits,
        f"at most {problem.max_params} extra parameters": problem.max_params,
        f"at most {problem.max_memory_bytes} bytes of heads": problem.max_memory_bytes,
        f"at most {problem.max_energy_mj} mJ an answer": problem.max_energy_mj,
        f"exits at placements {', '.join(map(str, problem.required))}": problem.required or None,
    }
    found = [words for words, limit in limits.items() if limit is not None]
    found += [f"a value of {least:g} within {budget:g} ms" for budget, least in problem.floors]
    if proved:
        return InputError(f"no choice of exits keeps to all limits ({'; '.join(found)}); lift one of them")
    return InputError(
        f"no choice of exits was found that keeps to all limits ({'; '.join(found)}), but there may be one, for there "
        "were too many to try; loosen a limit, or leave fewer heads or placements to choose from"
    )
