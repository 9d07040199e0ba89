"""Problem: what a search chooses from, in plain numbers. Built from a profile and outcomes, solved by everything else.

A *choice* is a tuple of positions in `Problem.candidates`, ascending and with at most one per placement. The backbone's
final exit is always there and is not part of a choice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exitsearch.errors import InputError, one_of
from exitsearch.search.matching import matching_exits
from exitsearch.specs.budget import BudgetDistribution, parse_budget
from exitsearch.specs.config import POLICIES, Policy
from exitsearch.specs.outcomes import Outcomes, fallback_value
from exitsearch.specs.placement import Placement
from exitsearch.specs.profile import Profile
from exitsearch.specs.space import select_placements

Array = NDArray[np.float64]
Choice = tuple[int, ...]

# A profile holds hundreds of slow-down samples, and the solver asks for the survival of many thousand times. 64
# equal-probability groups, each replaced by its mean, keep the mean of the samples exactly and move no survival by more
# than 1/64 (far less where budgets are spread), which is about the sampling error of a thousand samples.
MOST_SLOWDOWNS = 64
# Numbers held at once while survival is averaged over slow-down samples: 16 MiB.
_CHUNK = 2**21


@dataclass(frozen=True)
class Candidate:
    """One exit that may be chosen: a head at a placement.

    Attributes:
        arrival_ms: latency of the backbone up to the placement, heads left out.
        head_ms: latency of the head.
        value: accuracy, or minus the error, on the split that is chosen on.
        params: parameters of the head; 0 where unknown.
        memory_bytes: bytes of the head's weights; 0 where unknown.
        held_bytes: by how much the head's input and output exceed what any part of the backbone holds; 0 where they do
            not, or are unknown.
        arrival_mj: energy of the backbone up to the placement, heads left out; 0 where unknown.
        head_mj: energy of the head; 0 where unknown.
    """

    placement: int
    head: str
    arrival_ms: float
    head_ms: float
    value: float
    params: int = 0
    memory_bytes: int = 0
    held_bytes: int = 0
    arrival_mj: float = 0.0
    head_mj: float = 0.0


@dataclass(frozen=True)
class Problem:
    """Everything that the expected value of a choice depends on.

    Attributes:
        candidates: sorted by (placement, head).
        final_ms: latency of the backbone to its own outputs, without any exit.
        final_value: value of the final exit.
        fallback: value of having no answer in time.
        budget: distribution of budgets in ms.
        slowdown: equally likely factors on every latency; empty means that latencies are exactly the medians.
        policy: `interruptible`, `contract` or `confidence`.
        max_exits: most exits that may be chosen, the final one not counted; None means no limit.
        max_params: most parameters of all chosen heads; None means no limit.
        max_memory_bytes: most bytes that all chosen heads add (`memory_bytes`); None means no limit.
        final_mj: energy of the backbone to its own outputs, without any exit; 0 where unknown.
        max_energy_mj: most energy of an answer (`energy_mj`); None means no limit.
        quantile: under `confidence`, the quantile of the latency over samples that a budget limits; None: the mean.
        max_heads_ms: most time of all chosen heads together, of the policy `interruptible`; None means no limit.
        floors: (budget in ms, value): with that budget, at median latency, the answer must be worth so much.
        required: placements that must carry an exit.
    """

    candidates: tuple[Candidate, ...]
    final_ms: float
    final_value: float
    fallback: float
    budget: BudgetDistribution
    slowdown: tuple[float, ...] = ()
    policy: Policy = "interruptible"
    max_exits: int | None = None
    max_params: int | None = None
    max_memory_bytes: int | None = None
    final_mj: float = 0.0
    max_energy_mj: float | None = None
    quantile: float | None = None
    max_heads_ms: float | None = None
    floors: tuple[tuple[float, float], ...] = ()
    required: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        keys = [(candidate.placement, candidate.head) for candidate in self.candidates]
        assert keys == sorted(set(keys)), "candidates must be sorted by (placement, head), each once"
        assert set(self.required) <= {place for place, _ in keys}, "a required placement needs a candidate"
        assert len(self.floors) < 64, "labels keep one bit a floor"

    def survival(self, times_ms: ArrayLike, *, noise: bool = True) -> Array:
        """P(B >= s t) averaged over the slow-down samples s: the chance that an answer of median time t is in time.

        Args:
            times_ms: times in ms, any shape.
            noise: False leaves the slow-down samples out.
        """
        times = np.asarray(times_ms, dtype=np.float64)
        if not noise or not self.slowdown:
            return self.budget.survival(times)
        factors = np.array(self.slowdown)
        flat = times.ravel()
        result = np.empty(flat.shape)
        step = max(1, _CHUNK // len(factors))
        for start in range(0, len(flat), step):
            part = slice(start, start + step)
            result[part] = self.budget.survival(np.multiply.outer(factors, flat[part])).mean(axis=0)
        return result.reshape(times.shape)

    @cached_property
    def by_placement(self) -> dict[int, tuple[int, ...]]:
        """Positions of the candidates at each placement, in placement order."""
        places: dict[int, tuple[int, ...]] = {}
        for position, candidate in enumerate(self.candidates):
            places[candidate.placement] = (*places.get(candidate.placement, ()), position)
        return places

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """Every head among the candidates, in alphabetical order."""
        return tuple(sorted({candidate.head for candidate in self.candidates}))

    @cached_property
    def positions(self) -> dict[tuple[int, str], int]:
        """Position of each (placement, head)."""
        return {(c.placement, c.head): position for position, c in enumerate(self.candidates)}

    def chosen(self, choice: Choice) -> list[Candidate]:
        """The candidates of a choice, in placement order."""
        return [self.candidates[position] for position in choice]

    def params(self, choice: Choice) -> int:
        """Parameters of all heads of a choice."""
        return sum(candidate.params for candidate in self.chosen(choice))

    def memory_bytes(self, choice: Choice) -> int:
        """Bytes that the heads of a choice add to the backbone's: their weights, and the most that one holds."""
        chosen = self.chosen(choice)
        return sum(c.memory_bytes for c in chosen) + max((c.held_bytes for c in chosen), default=0)

    def energy_mj(self, choice: Choice) -> float:
        """The most energy that one answer takes, in mJ for one batch.

        Under `interruptible` and `confidence` that is a pass to the end with every chosen head; under `contract`, where
        one head is run, the dearest single answer, that of the final exit among them.
        """
        chosen = self.chosen(choice)
        if self.policy == "contract":
            return max([self.final_mj, *(c.arrival_mj + c.head_mj for c in chosen)])
        return self.final_mj + sum(c.head_mj for c in chosen)

    @property
    def heads_mj_left(self) -> float | None:
        """What the limit on energy leaves for all heads of a pass to the end; None means no limit."""
        return None if self.max_energy_mj is None else self.max_energy_mj - self.final_mj

    def allows(self, choice: Choice) -> bool:
        """Whether a choice keeps to one head per placement, placement order, and every limit."""
        placements = [candidate.placement for candidate in self.chosen(choice)]
        return placements == sorted(set(placements)) and all(excess <= 0 for excess in self.excess(choice).values())

    def excess(self, choice: Choice) -> dict[str, float]:
        """By how much a choice breaks each limit that there is; 0 or less where it keeps to it.

        Parameters, bytes and energy are in units of their limit, so that no limit drowns the others.
        """
        chosen = self.chosen(choice)
        found: dict[str, float] = {}
        if self.max_exits is not None:
            found["max_exits"] = len(choice) - self.max_exits
        if self.max_params is not None:
            found["max_params"] = (sum(c.params for c in chosen) - self.max_params) / max(1, self.max_params)
        if self.max_memory_bytes is not None:
            over_bytes = self.memory_bytes(choice) - self.max_memory_bytes
            found["max_memory_bytes"] = over_bytes / max(1, self.max_memory_bytes)
        if self.max_energy_mj is not None and self.heads_mj_left is not None:
            if self.policy == "contract":
                over = self.energy_mj(choice) - self.max_energy_mj
            else:  # summed and compared like the solver's labels, so that both agree to the last bit
                over = sum(c.head_mj for c in chosen) - self.heads_mj_left
            found["max_energy_mj"] = over / max(1e-12, self.max_energy_mj)
        if self.max_heads_ms is not None:
            found["max_heads_ms"] = (sum(c.head_ms for c in chosen) - self.max_heads_ms) / max(1e-12, self.max_heads_ms)
        for budget_ms, least in self.floors:
            found[f"value at {budget_ms:g} ms"] = least - self.value_within(choice, budget_ms)
        if self.required:
            found["required"] = len(set(self.required) - {c.placement for c in chosen})
        return found

    def value_within(self, choice: Choice, budget_ms: float) -> float:
        """Value of the answer within one budget, at median latency."""
        best, delay = self.fallback, 0.0
        for candidate in self.chosen(choice):
            # Summed like the solvers' labels, so that both agree to the last bit on what is in time.
            delay = 0.0 if self.policy == "contract" else delay
            delay += candidate.head_ms
            if candidate.arrival_ms + delay <= budget_ms:
                best = max(best, candidate.value)
        waits = 0.0 if self.policy == "contract" else delay
        return max(best, self.final_value) if self.final_ms + waits <= budget_ms else best


def reduce_slowdown(samples: Sequence[float], most: int = MOST_SLOWDOWNS) -> tuple[float, ...]:
    """Replace samples by at most `most` equally likely ones: the means of equal-probability groups.

    The mean is kept exactly, also when the groups cut through samples.

    >>> reduce_slowdown([1.0, 2.0, 3.0, 6.0], most=2)
    (1.5, 4.5)
    """
    if len(samples) <= most:
        return tuple(sorted(samples))
    # Integral of the samples' quantile function from 0 to q, which is linear between multiples of 1 / len(samples).
    integral = np.concatenate([[0.0], np.cumsum(np.sort(samples))]) / len(samples)
    edges = np.linspace(0.0, 1.0, most + 1)
    at_edges = np.interp(edges, np.linspace(0.0, 1.0, len(samples) + 1), integral)
    return tuple(float(mean) for mean in np.diff(at_edges) * most)


def build_problem(
    profile: Profile,
    outcomes: Outcomes,
    *,
    budget: BudgetDistribution | str,
    policy: Policy = "interruptible",
    split: str | None = None,
    fallback: float | None = None,
    candidates: Mapping[str, Collection[int]] | None = None,
    heads: Sequence[str] | None = None,
    placements: str | Iterable[int] | None = None,
    max_exits: int | None = None,
) -> tuple[Problem, list[str]]:
    """Bring a profile and outcomes together.

    Args:
        profile: a timed profile.
        outcomes: values of the same backbone's heads.
        budget: budget distribution; shares (`10%`) are of the profile's full model.
        policy: `interruptible`, `contract` or `confidence`.
        split: split of the outcomes to choose on; None takes the one meant for it.
        fallback: score of having no answer in time; None takes the one that the outcomes know.
        candidates: allowed placements of each head by its text, as from `SearchSpace.candidates`; None allows all.
            Heads in it that a document does not hold are warned of.
        heads: heads to choose from; None allows all.
        placements: placements to choose from, numbers or a text like `0,2,4-8`; None allows all.
        max_exits: most exits that may be chosen, at least 0; None means no limit.

    Returns:
        The problem, and warnings: small differences between the two documents, heads of a space and pairs left out.

    Raises:
        InputError: the profile holds no times, a wanted head is missing in a document, or nothing is left to choose.
        MismatchError: the two documents are of different backbones.
    """
    warnings = profile.backbone.check_same(outcomes.backbone, mine="the profile", others="the outcomes")
    if not profile.is_timed:
        raise InputError("this profile only counts operations; measure times with exitsearch profile")
    if policy not in POLICIES:
        raise one_of("policy", policy, POLICIES)
    if max_exits is not None and max_exits < 0:
        raise InputError(f"the most exits must be at least 0, found {max_exits}")
    if split is not None and split not in outcomes.splits:
        raise one_of("split", split, outcomes.splits)
    costs = {(cost.placement, cost.head): cost for cost in profile.heads}
    values = outcomes.values(split)
    chosen, notes = matching_exits(
        profile,
        outcomes,
        costs=costs,
        values=values,
        allowed=allowed_placements(placements, len(profile.segments), facts=profile.placements),
        heads=heads,
        candidates=candidates,
    )
    warnings += notes
    arrival = profile.arrival_ms
    arrival_mj = np.cumsum([segment.energy_mj or 0.0 for segment in profile.segments])
    problem = Problem(
        candidates=tuple(
            Candidate(
                placement=place,
                head=head,
                arrival_ms=float(arrival[place]),
                head_ms=float(costs[place, head].latency_ms or 0.0),
                value=values[place, head],
                params=costs[place, head].params or 0,
                arrival_mj=float(arrival_mj[place]),
                head_mj=costs[place, head].energy_mj or 0.0,
            )
            for place, head in chosen
        ),
        final_ms=profile.full_ms,
        final_value=outcomes.final_value(split),
        final_mj=float(arrival_mj[-1]) + (profile.final.energy_mj or 0.0),
        fallback=fallback_value(outcomes, fallback),
        budget=(parse_budget(budget) if isinstance(budget, str) else budget).resolved(profile.full_ms),
        slowdown=reduce_slowdown(profile.slowdown),
        policy=policy,
        max_exits=max_exits,
    )
    return problem, warnings


def allowed_placements(
    placements: str | Iterable[int] | None, count: int, *, facts: Sequence[Placement] = ()
) -> set[int]:
    """Placements given as numbers, as a text like `0,2,4-8`, or as None for all `count` of them."""
    if placements is None or isinstance(placements, str):
        return set(select_placements(placements, count, placements=facts))
    allowed = set(placements)
    if any(not 0 <= place < count for place in allowed):
        raise InputError(f"placements run from 0 to {count - 1}, found {sorted(allowed)}")
    return allowed
