"""Resources: what exit heads take and there may only be so much of. A new limit is one row of the table, no solver.

    resource   a head takes       once, the largest   limited by
    params     its parameters                         `--max-extra-params`
    memory     bytes of weights   bytes that it       `--max-memory`, of which the backbone's part is taken off
                                  holds at work
    energy     mJ of the head                         `--max-energy`, of which the backbone's part is taken off; under
                                                      `contract` of each answer alone
    time       ms of the head                         an objective of the front (`front/aims.py`)

A problem holds the limits by the name of the resource (`Problem.limits`), a candidate what it takes by the name of the
amount (`Candidate.takes`). Solvers, baselines, Optuna's constraints and the sentence that says which limits cannot all
be kept to go through the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from exitsearch.specs.request import Policy

if TYPE_CHECKING:
    from exitsearch.search.problem import Candidate


@dataclass(frozen=True)
class Resource:
    """One row: something of which the heads of a choice take the sum of what each takes.

    Attributes:
        name: in `Problem.limits`.
        amount: what a head takes, in `Candidate.takes`.
        constraint: name of the limit in `Problem.excess`, by which Optuna's studies keep how far a trial is off.
        words: the limit in a sentence, `{}` standing for the number.
        unit: least limit in whose units excess is counted.
        once: what counts for the head that has most of it alone, in `Candidate.takes`; None: nothing does.
        alone: under `contract`, where one head is run, what an answer of a head takes by itself, the sum of these
            amounts. The limit then speaks of each answer. None: heads are summed up under every policy.
    """

    name: str
    amount: str
    constraint: str
    words: str
    unit: float = 1
    once: str | None = None
    alone: tuple[str, ...] | None = None

    def is_summed(self, policy: Policy) -> bool:
        """Whether all heads of a choice count together, not each answer by itself."""
        return self.alone is None or policy != "contract"

    def of_answer(self, candidate: Candidate) -> float:
        """What an answer of one head takes by itself."""
        assert self.alone is not None
        return sum(candidate.amount(name) for name in self.alone)


RESOURCES: dict[str, Resource] = {
    row.name: row
    for row in (
        Resource("params", "params", "max_params", "at most {} extra parameters"),
        Resource("memory", "memory_bytes", "max_memory_bytes", "at most {} bytes of heads", once="held_bytes"),
        Resource(
            "energy",
            "head_mj",
            "max_energy_mj",
            "at most {} mJ an answer",
            unit=1e-12,
            alone=("arrival_mj", "head_mj"),
        ),
        Resource("time", "head_ms", "max_heads_ms", "at most {} ms of heads", unit=1e-12),
    )
}
