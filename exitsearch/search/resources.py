"""Resources: what exit heads take and there may only be so much of. A new limit is one row of the table, no solver.

    resource   a head takes       once, the largest   limited by
    params     its parameters                         `--max-extra-params`
    memory     bytes of weights   bytes that it       `--max-memory`, of which the backbone's part is taken off
                                  holds at work
    energy     mJ of the head                         `--max-energy`, the backbone's part included; under `contract`
                                                      of each answer alone
    time       ms of the head                         an objective of the front (`front/aims.py`)

A problem holds the limits by the name of the resource (`Problem.limits`), a candidate what it takes by the name of the
amount (`Candidate.takes`). Building a problem, the solvers, baselines, Optuna's constraints and the sentence that says
which limits cannot all be kept go through the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from exitsearch.specs.memory import head_held_bytes, held_bytes
from exitsearch.specs.profile import HeadCost, Profile
from exitsearch.specs.question.request import Policy

if TYPE_CHECKING:
    from exitsearch.search.problem import Candidate


@dataclass(frozen=True)
class Measured:
    """What a profile says of a resource.

    Attributes:
        known: whether it says all; what it does not say counts as 0.
        backbone: what the backbone takes by itself.
        heads: what each of some heads takes, as in `Candidate.takes`.
    """

    known: bool
    backbone: float
    heads: list[dict[str, float]]


@dataclass(frozen=True)
class Source:
    """How a profile gives a resource, and how people limit it.

    Attributes:
        limit: name of the limit in a request (`specs/question/limits.py`); the option is the same with dashes.
        measure: what a profile says of the resource and of some of its heads.
        unknown: in words, that a profile does not say all.
        remedy: in words, what to do then.
        amount: a number with its unit, `{}` standing for the number.
        whose: in words, what takes so much.
        always: whether candidates know it where it is not limited, too.
        taken_off: whether the backbone's part is taken off the limit of the request, so that the problem's is one of
            the heads alone.
    """

    limit: str
    measure: Callable[[Profile, Sequence[HeadCost]], Measured]
    unknown: str
    remedy: str
    amount: str
    whose: str = ""
    always: bool = False
    taken_off: bool = False

    @property
    def option(self) -> str:
        """The option of the command line."""
        return "--" + self.limit.replace("_", "-")


@dataclass(frozen=True)
class Resource:
    """One row: something of which the heads of a choice take the sum of what each takes.

    Attributes:
        name: in `Problem.limits`.
        amount: what a head takes, in `Candidate.takes`.
        constraint: name of the limit in `Problem.excess`, by which Optuna's studies keep how far a trial is off.
        words: the problem's limit in a sentence, `{}` standing for the number.
        unit: least limit in whose units excess is counted.
        once: what counts for the head that has most of it alone, in `Candidate.takes`; None: nothing does.
        alone: under `contract`, where one head is run, what an answer of a head takes by itself, the sum of these
            amounts. The limit then speaks of each answer. None: heads are summed up under every policy.
        source: how a profile gives it; None: candidates know it anyway, and no request limits it.
    """

    name: str
    amount: str
    constraint: str
    words: str
    unit: float = 1
    once: str | None = None
    alone: tuple[str, ...] | None = None
    source: Source | None = None

    def is_summed(self, policy: Policy) -> bool:
        """Whether all heads of a choice count together, not each answer by itself."""
        return self.alone is None or policy != "contract"

    def of_answer(self, candidate: Candidate) -> float:
        """What an answer of one head takes by itself."""
        assert self.alone is not None
        return sum(candidate.amount(name) for name in self.alone)


def _params(profile: Profile, heads: Sequence[HeadCost]) -> Measured:
    known = all(cost.params is not None for cost in heads)
    return Measured(known, 0, [{"params": cost.params or 0} for cost in heads])


def _memory(profile: Profile, heads: Sequence[HeadCost]) -> Measured:
    """Weights of every part, and the largest input and output that any one part holds together."""
    parts = [*profile.segments, profile.final]
    known = not any(part.weight_bytes is None or part.activation_bytes is None for part in (*parts, *heads))
    held = held_bytes(profile, [])
    takes: list[dict[str, float]] = [
        {"memory_bytes": cost.weight_bytes or 0, "held_bytes": max(0, head_held_bytes(profile, cost) - held)}
        for cost in heads
    ]
    return Measured(known, sum(part.weight_bytes or 0 for part in parts) + held, takes)


def _energy(profile: Profile, heads: Sequence[HeadCost]) -> Measured:
    known = all(cost.energy_mj is not None for cost in (*profile.segments, profile.final, *heads))
    arrival = np.cumsum([segment.energy_mj or 0.0 for segment in profile.segments]).tolist()
    takes = [{"arrival_mj": arrival[cost.placement], "head_mj": cost.energy_mj or 0.0} for cost in heads]
    return Measured(known, arrival[-1] + (profile.final.energy_mj or 0.0), takes)


RESOURCES: dict[str, Resource] = {
    row.name: row
    for row in (
        Resource(
            "params",
            amount="params",
            constraint="max_params",
            words="at most {} extra parameters",
            source=Source(
                "max_extra_params",
                _params,
                unknown="the profile does not know the parameters of every head",
                remedy="make it again with exitsearch profile",
                amount="{} parameters",
                always=True,
            ),
        ),
        Resource(
            "memory",
            amount="memory_bytes",
            constraint="max_memory_bytes",
            words="at most {} bytes of heads",
            once="held_bytes",
            source=Source(
                "max_memory",
                _memory,
                unknown="the profile does not know the bytes of weights and activations of every part",
                remedy="make it again with exitsearch profile",
                amount="{} bytes",
                whose=" of weights and activations",
                taken_off=True,
            ),
        ),
        Resource(
            "energy",
            amount="head_mj",
            constraint="max_energy_mj",
            words="at most {} mJ an answer",
            unit=1e-12,
            alone=("arrival_mj", "head_mj"),
            source=Source(
                "max_energy",
                _energy,
                unknown="the profile does not hold the energies of all segments and heads",
                remedy="make it again with exitsearch profile --energy",
                amount="{:.4g} mJ",
                whose=" an answer",
                always=True,
            ),
        ),
        Resource("time", amount="head_ms", constraint="max_heads_ms", words="at most {} ms of heads", unit=1e-12),
    )
}
