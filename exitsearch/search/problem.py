"""Problem: what a search chooses from, in plain numbers. Built from a profile and outcomes, solved by everything else.

A *choice* is a tuple of positions in `Problem.candidates`, ascending and with at most one per placement. The backbone's
final exit is always there and is not part of a choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exitsearch.search.resources import RESOURCES, Resource
from exitsearch.specs.budget import BudgetDistribution, Slowed, latest_in_time
from exitsearch.specs.question.request import Policy

Array = NDArray[np.float64]
Choice = tuple[int, ...]


@dataclass(frozen=True)
class Candidate:
    """One exit that may be chosen: a head at a placement.

    Attributes:
        arrival_ms: latency of the backbone up to the placement, heads left out; less what the next part takes longer
            behind a head, which `head_ms` holds (nothing on a CPU).
        head_ms: by how much the head delays what comes after it.
        value: accuracy, or minus the error, on the split that is chosen on.
        takes: what else the head takes, by name; what is not named is unknown and counts as 0.
            `params`: its parameters. `memory_bytes`: bytes of its weights. `held_bytes`: by how much its input and
            output exceed what any part of the backbone holds. `arrival_mj`: energy of the backbone up to the placement,
            heads left out. `head_mj`: energy of the head. And whatever else a row of `resources.py` speaks of.
    """

    placement: int
    head: str
    arrival_ms: float
    head_ms: float
    value: float
    takes: Mapping[str, float] = field(default_factory=dict)

    @property
    def params(self) -> int:
        """Parameters: of choices of equal value the one with fewer exits, then fewer of these, is preferred."""
        return int(self.takes.get("params", 0))

    def amount(self, name: str) -> float:
        """How much the head takes of something, its time (`head_ms`) among them."""
        return self.head_ms if name == "head_ms" else self.takes.get(name, 0)


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
        quantile: under `confidence`, the quantile of the latency over samples that a budget limits; None: the mean.
        max_exits: most exits that may be chosen, the final one not counted; None means no limit.
        limits: by resource (`resources.py`) the most that may be taken of it, the backbone's part included.
        backbone: by resource what the backbone takes to its own outputs, without any exit; what is not named is 0.
        min_values: (budget in ms, value): with that budget, at median latency, the answer must be worth so much.
        forced: placements that must carry an exit.
    """

    candidates: tuple[Candidate, ...]
    final_ms: float
    final_value: float
    fallback: float
    budget: BudgetDistribution
    slowdown: tuple[float, ...] = ()
    policy: Policy = "interruptible"
    quantile: float | None = None
    max_exits: int | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    backbone: Mapping[str, float] = field(default_factory=dict)
    min_values: tuple[tuple[float, float], ...] = ()
    forced: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        keys = [(candidate.placement, candidate.head) for candidate in self.candidates]
        assert keys == sorted(set(keys)), "candidates must be sorted by (placement, head), each once"
        assert set(self.forced) <= {place for place, _ in keys}, "a forced placement needs a candidate"
        assert len(self.min_values) < 64, "labels keep one bit a minimum value"
        assert {*self.limits, *self.backbone} <= RESOURCES.keys(), "limits are those of the table of resources"

    def key(self) -> str:
        """The whole problem as text, for the names of studies.

        The same problem has the same text in every version, whatever the fields are called: what was not there in the
        first version is named only where it is not at its default.
        """
        takes = (("params", 0), ("memory_bytes", 0), ("arrival_mj", 0.0), ("head_mj", 0.0))
        candidates = []
        for c in self.candidates:
            parts = [f"placement={c.placement!r}, head={c.head!r}, arrival_ms={c.arrival_ms!r}, head_ms={c.head_ms!r}"]
            parts += [f"value={c.value!r}", *(f"{name}={c.takes.get(name, default)!r}" for name, default in takes)]
            later = sorted(c.takes.keys() - dict(takes).keys())
            parts += [f"{name}={c.takes[name]!r}" for name in later if c.takes[name]]
            candidates.append(f"Candidate({', '.join(parts)})")
        limits = {row.constraint: self.limits.get(name) for name, row in RESOURCES.items()}
        fields = {
            "candidates": f"({', '.join(candidates)}{',' * (len(candidates) == 1)})",
            "final_ms": repr(self.final_ms),
            "final_value": repr(self.final_value),
            "fallback": repr(self.fallback),
            "budget": repr(self.budget),
            "slowdown": repr(self.slowdown),
            "policy": repr(self.policy),
            "max_exits": repr(self.max_exits),
            "max_params": repr(limits.pop("max_params")),
            "max_memory_bytes": repr(limits.pop("max_memory_bytes")),
            "final_mj": repr(self.backbone.get("energy", 0.0)),
            "max_energy_mj": repr(limits.pop("max_energy_mj")),
            "quantile": repr(self.quantile),
            "max_heads_ms": repr(limits.pop("max_heads_ms")),
            "floors": repr(self.min_values),
            "required": repr(self.forced),
        }
        fields |= {name: repr(most) for name, most in sorted(limits.items()) if most is not None}
        fields |= {f"backbone {n}": repr(used) for n, used in sorted(self.backbone.items()) if n != "energy" and used}
        return f"Problem({', '.join(f'{name}={text}' for name, text in fields.items())})"

    def survival(self, times_ms: ArrayLike, *, noise: bool = True) -> Array:
        """P(B >= s t) averaged over the slow-down samples s: the chance that an answer of median time t is in time.

        Args:
            times_ms: times in ms, any shape.
            noise: False leaves the slow-down samples out.
        """
        times = np.asarray(times_ms, dtype=np.float64)
        return self._slowed(times) if noise and self.slowdown else self.budget.survival(times)

    def survival_above(self, times_ms: ArrayLike) -> Array:
        """Never less than `survival` but by rounding, and the same where that is quick: for estimates at many times."""
        times = np.asarray(times_ms, dtype=np.float64)
        return self._slowed.above(times) if self.slowdown else self.budget.survival(times)

    @cached_property
    def _slowed(self) -> Slowed:
        return _slowed(self.budget, self.slowdown)

    @cached_property
    def by_placement(self) -> dict[int, tuple[int, ...]]:
        """Positions of the candidates at each placement, in placement order."""
        places: dict[int, tuple[int, ...]] = {}
        for position, candidate in enumerate(self.candidates):
            places[candidate.placement] = (*places.get(candidate.placement, ()), position)
        return places

    @property
    def choices(self) -> float:
        """How many choices there are, limits left aside."""
        return math.prod(1.0 + len(positions) for positions in self.by_placement.values())

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

    def taken(self, resource: str, choice: Choice) -> float:
        """What a choice takes of a resource, with the backbone's part, for one batch.

        Of energy that is the most of one answer. Under `interruptible` and `confidence` it is a pass to the end with
        every chosen head; under `contract`, where one head is run, the dearest single answer, that of the final exit
        among them.
        """
        row, own = RESOURCES[resource], self.backbone.get(resource, 0)
        if not row.is_summed(self.policy):
            return max([own, *(row.of_answer(candidate) for candidate in self.chosen(choice))])
        return own + self._of_heads(row, choice)

    def _of_heads(self, row: Resource, choice: Choice) -> float:
        """The sum of what the heads of a choice take, and once what the largest takes."""
        chosen = self.chosen(choice)
        summed = sum(c.amount(row.amount) for c in chosen)
        return summed if row.once is None else summed + max((c.amount(row.once) for c in chosen), default=0)

    def left(self, resource: str) -> float:
        """What the limit on a resource leaves for all heads together."""
        return self.limits[resource] - self.backbone.get(resource, 0)

    def allows(self, choice: Choice) -> bool:
        """Whether a choice keeps to one head per placement, placement order, and every limit."""
        placements = [candidate.placement for candidate in self.chosen(choice)]
        return placements == sorted(set(placements)) and all(excess <= 0 for excess in self.excess(choice).values())

    def excess(self, choice: Choice) -> dict[str, float]:
        """By how much a choice breaks each limit that there is; 0 or less where it keeps to it.

        Resources are in units of their limit, so that no limit drowns the others.
        """
        found: dict[str, float] = {}
        if self.max_exits is not None:
            found["max_exits"] = len(choice) - self.max_exits
        found |= self.overuse(choice)
        for budget_ms, least in self.min_values:
            # Several at one budget, or at budgets that are written alike, hold all.
            name, short = f"value at {budget_ms:g} ms", least - self.value_within(choice, budget_ms)
            found[name] = max(short, found.get(name, short))
        if self.forced:
            found["required"] = len(set(self.forced) - {c.placement for c in self.chosen(choice)})
        return found

    def overuse(self, choice: Choice) -> dict[str, float]:
        """The part of `excess` that further exits can only raise: by how much each limit on a resource is broken."""
        found = {}
        for name, row in RESOURCES.items():
            if name in self.limits:
                if row.is_summed(self.policy):  # summed and compared like labels, so that both agree to the last bit
                    over = self._of_heads(row, choice) - self.left(name)
                else:
                    over = self.taken(name, choice) - self.limits[name]
                found[row.constraint] = over / max(row.unit, self.limits[name])
        return found

    def value_within(self, choice: Choice, budget_ms: float) -> float:
        """Value of the answer within one budget, at median latency."""
        best, delay, latest = self.fallback, 0.0, latest_in_time(budget_ms)
        for candidate in self.chosen(choice):
            # Summed like the solvers' labels, so that both agree to the last bit on what is in time.
            delay = 0.0 if self.policy == "contract" else delay
            delay += candidate.head_ms
            if candidate.arrival_ms + delay <= latest:
                best = max(best, candidate.value)
        waits = 0.0 if self.policy == "contract" else delay
        return max(best, self.final_value) if self.final_ms + waits <= latest else best


@lru_cache(maxsize=4)  # problems that differ in their limits share it
def _slowed(budget: BudgetDistribution, samples: tuple[float, ...]) -> Slowed:
    return budget.slowed(samples)
