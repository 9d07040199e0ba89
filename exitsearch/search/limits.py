"""Limits on a choice: what the two exact solvers share about them, and how people write them.

Both solvers drop a label as soon as it breaks a limit on exits, parameters, bytes or energy, and let a label stand in
for another only if it uses no more of anything limited and keeps to the same floors. To know early what is worth
carrying on, they need a good choice that keeps to the limits: a good one without limits, from which exits are taken
until it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

from exitsearch.errors import InputError
from exitsearch.search.problem import Choice, Problem
from exitsearch.specs.head import HeadChoice
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
        if not options:
            return None
        choice = max(options, key=value)
    return choice


def with_limits(
    problem: Problem,
    profile: Profile,
    *,
    metric: Metric,
    max_params: int | None = None,
    max_memory_bytes: int | None = None,
    max_energy_mj: float | None = None,
    floors: Iterable[str] = (),
    force: Iterable[str] = (),
    forbid: Iterable[str] = (),
) -> Problem:
    """A problem with further limits.

    Args:
        profile: that the problem was built from; it must know what is limited.
        metric: of the scores in `floors`.
        max_params: most parameters of all exit heads, at least 0.
        max_memory_bytes: most bytes of the whole model: weights of backbone and heads, and the largest input and
            output that any one part holds together, at the profile's batch size.
        max_energy_mj: most energy of an answer (`Problem.energy_mj`), backbone included, for one batch of the profile.
        floors: least values at budgets, as `20ms=0.7` or `50%=0.7`; scores of the metric, so for `mae` the most error.
        force: exits that must stand, `PLACEMENT` or `PLACEMENT:HEAD`.
        forbid: exits that must not.

    Raises:
        InputError: a limit that cannot be read, or that the profile knows nothing about.
    """
    if (floors := tuple(floors)) and problem.policy == "confidence":
        raise InputError(
            "a least value at a budget cannot be combined with the policy confidence, whose value depends on "
            "thresholds; choose --policy interruptible or contract"
        )
    heads = {(cost.placement, cost.head): cost for cost in profile.heads}
    mine = [heads[candidate.placement, candidate.head] for candidate in problem.candidates]
    if max_params is not None and any(cost.params is None for cost in mine):
        raise InputError("the profile does not know the parameters of every head, so --max-extra-params cannot hold")
    left = None
    if max_memory_bytes is not None:
        if any(cost.weight_bytes is None for cost in mine):
            raise InputError("the profile does not know the bytes of every head, so --max-memory cannot hold")
        left = max_memory_bytes - _backbone_bytes(profile, mine)
        if left < 0:
            raise InputError(
                f"the backbone alone takes {max_memory_bytes - left} bytes of weights and activations, more than the "
                f"{max_memory_bytes} allowed; raise --max-memory"
            )
    if max_energy_mj is not None:
        if not all(cost.energy_mj is not None for cost in (*profile.segments, profile.final, *mine)):
            raise InputError(
                "the profile does not hold the energies of all segments and heads, so --max-energy cannot hold; make "
                "it again with exitsearch profile --energy"
            )
        if problem.final_mj > max_energy_mj:
            raise InputError(
                f"the backbone alone takes {problem.final_mj:.4g} mJ an answer, more than the {max_energy_mj:.4g} mJ "
                "allowed; raise --max-energy"
            )
    read = [parse_floor(text, full_ms=problem.final_ms) for text in floors]
    limited = replace(
        problem,
        candidates=tuple(
            replace(candidate, memory_bytes=cost.weight_bytes or 0)
            for candidate, cost in zip(problem.candidates, mine, strict=True)
        ),
        max_params=max_params,
        max_memory_bytes=left,
        max_energy_mj=max_energy_mj,
        floors=tuple((budget, as_value(least, metric)) for budget, least in read),
    )
    return forced(limited, force, forbid)


def _backbone_bytes(profile: Profile, heads: list[HeadCost]) -> int:
    """Weights of the backbone, and the largest input and output that one part holds together, whatever is chosen."""
    parts = [*profile.segments, profile.final]
    if any(part.weight_bytes is None or part.activation_bytes is None for part in (*parts, *heads)):
        raise InputError(
            "the profile does not know the bytes of weights and activations of every part, so --max-memory cannot "
            "hold; make it again with exitsearch profile"
        )
    handed = [segment.activation_bytes or 0 for segment in profile.segments]
    held = [before + after for before, after in pairwise(handed)]
    held += [handed[head.placement] + (head.activation_bytes or 0) for head in heads]
    held += [handed[0], handed[-1] + (profile.final.activation_bytes or 0)]
    return sum(part.weight_bytes or 0 for part in parts) + max(held)


def parse_bytes(text: str) -> int:
    """Read a number of bytes: `500000`, `64MiB`, `1.5GB`.

    >>> parse_bytes("64MiB"), parse_bytes("1.5 GB"), parse_bytes("7")
    (67108864, 1500000000, 7)

    Raises:
        InputError: when it has another form.
    """
    units = {"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
    number = text.strip().rstrip("BbKkMmGgIi ")
    unit = text.strip()[len(number) :].strip().lower()
    try:
        return int(float(number) * units[unit])
    except (ValueError, KeyError, OverflowError):
        raise InputError(f"bytes are written as 64MiB, 1.5GB or 500000, found {text!r}") from None


def parse_energy(text: str) -> float:
    """Read an energy in millijoules: `12mJ`, `0.5J`, or a plain number of mJ.

    >>> parse_energy("12mJ"), parse_energy("0.5 J"), parse_energy("7")
    (12.0, 500.0, 7.0)

    Raises:
        InputError: when it has another form or is not above 0.
    """
    units = {"": 1.0, "mj": 1.0, "j": 1e3}
    number = text.strip().rstrip("mMJj ")
    unit = text.strip()[len(number) :].strip().lower()
    try:
        found = float(number) * units[unit]
        if not 0 < found < float("inf"):
            raise ValueError
    except (ValueError, KeyError):
        raise InputError(f"an energy is written as 12mJ, 0.5J or 12 (mJ), above 0, found {text!r}") from None
    return found


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
    number, colon, name = text.partition(":")
    if not number.strip().isdecimal():
        raise InputError(f"an exit is written PLACEMENT or PLACEMENT:HEAD, as 3 or 3:linear, found {text!r}")
    place, head = int(number), str(HeadChoice.parse(name)) if colon else None
    here = [c.head for c in problem.candidates if c.placement == place]
    if not here or (head is not None and head not in here):
        known = f"the candidates there are {', '.join(here)}" if here else "there is no candidate at that placement"
        raise InputError(f"{text} is no candidate; {known}")
    return place, head


def parse_floor(text: str, *, full_ms: float) -> tuple[float, float]:
    """Read `20ms=0.7`, `20=0.7` or `50%=0.7`: with that budget the answer must be worth so much.

    >>> parse_floor("20ms=0.7", full_ms=100), parse_floor("50%=0.7", full_ms=100)
    ((20.0, 0.7), (50.0, 0.7))

    Args:
        full_ms: the full model's latency, of which `%` is a share.

    Raises:
        InputError: when it has another form.
    """
    time, equals, value = (part.strip() for part in text.partition("="))
    try:
        if not equals:
            raise ValueError
        share = time.endswith("%")
        number = float(time.removesuffix("%").removesuffix("ms"))
        least = float(value)
        if not 0 <= number < float("inf") or not abs(least) < float("inf"):
            raise ValueError
    except ValueError:
        raise InputError(f"a least value is written TIME=VALUE, as 20ms=0.7 or 50%=0.7, found {text!r}") from None
    return (number / 100 * full_ms if share else number), least


def nothing_allowed(problem: Problem) -> InputError:
    """The error when no choice keeps to all limits."""
    limits = {
        f"at most {problem.max_exits} exits": problem.max_exits,
        f"at most {problem.max_params} extra parameters": problem.max_params,
        f"at most {problem.max_memory_bytes} bytes of heads": problem.max_memory_bytes,
        f"at most {problem.max_energy_mj} mJ an answer": problem.max_energy_mj,
        f"exits at placements {', '.join(map(str, problem.required))}": problem.required or None,
    }
    found = [words for words, limit in limits.items() if limit is not None]
    found += [f"a value of {least:g} within {budget:g} ms" for budget, least in problem.floors]
    return InputError(f"no choice of exits keeps to all limits ({'; '.join(found)}); lift one of them")
