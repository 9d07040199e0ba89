"""SearchRequest: what a search is asked. Built once, from the command line or from keywords, and kept in chosen.json.

The only home of the rules that hold between its parts; whatever takes a request may rely on them.

>>> request = SearchRequest.asked(budget="uniform:10,80", max_exits=4, placements="0-5")
>>> request.limits.max_exits, request.candidates.placements, request.policy
(4, '0-5', 'interruptible')
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from exitsearch.errors import InputError, one_of
from exitsearch.specs.budget import BudgetDistribution, parse_budget
from exitsearch.specs.document import Part, validation_sentence
from exitsearch.specs.question.candidates import Candidates
from exitsearch.specs.question.limits import Limits
from exitsearch.specs.question.space import SearchSpace

Policy = Literal["interruptible", "contract", "confidence"]
POLICIES: tuple[Policy, ...] = ("interruptible", "contract", "confidence")
# How sure an answer is, under the policy `confidence`.
Score = Literal["softmax", "entropy", "margin", "patience"]
SCORES: tuple[Score, ...] = ("softmax", "entropy", "margin", "patience")
Objective = Literal["value", "params", "energy", "time"]
OBJECTIVES: tuple[Objective, ...] = ("value", "params", "energy", "time")

# Optuna's trials where none are named.
TRIALS = 100

# Keywords that are parts of `Limits`.
_LIMITS = tuple(Limits.model_fields)
# Former names of keywords, still understood.
_FORMER = {
    "max_params": "max_extra_params",
    "max_memory_bytes": "max_memory",
    "max_energy_mj": "max_energy",
    "min_values": "min_value_at",
}


class SearchRequest(Part):
    """The question of a search; everything but where the numbers come from.

    Attributes:
        budget: the distribution as text; shares (`10%`) are of the profile's full model.
        policy: `interruptible` (the budget strikes unannounced), `contract` (it is known beforehand) or `confidence`
            (an input leaves at the first exit that is sure enough; the budget limits the mean latency).
        score: how sure an answer is, under `confidence`: `softmax`, `entropy`, `margin` or `patience`.
        quantile: above 0 and below 1: under `confidence` a budget limits this quantile of the latency over samples, as
            0.95; None: the mean.
        fallback: score of having no answer in time; None takes the one that the outcomes know.
        metric: what the outcomes must hold; None takes what they hold.
        worth: name of what an answer is worth instead of the metric; None: the metric.
        limits: on the choice, those of a search space included.
        candidates: what may be chosen.
        objectives: `value` and one or two of `params`, `energy` and `time`, for a front of them; empty: value alone.
    """

    budget: str
    policy: Policy = "interruptible"
    score: Score = "softmax"
    quantile: float | None = None
    fallback: float | None = None
    metric: Literal["accuracy", "mae"] | None = None
    worth: str | None = None
    limits: Limits = Limits()
    candidates: Candidates = Candidates()
    objectives: list[Objective] = Field(default=[])

    @classmethod
    def asked(
        cls,
        *,
        budget: BudgetDistribution | str,
        heads: str | Iterable[str] | None = None,
        placements: str | Iterable[int] | None = None,
        space: SearchSpace | None = None,
        objectives: str | Sequence[str] = (),
        **others: Any,
    ) -> Self:
        """A request from keywords.

        Args:
            budget: a distribution or its text (`uniform:10,80`).
            heads: heads to choose from, as a text with commas or one by one; None allows all that there are.
            placements: placements to choose from, numbers or a text like `0,2,4-8`; None allows all.
            space: further bounds on heads and placements, and further limits: each holds beside those given here.
            objectives: names, as a text with commas or one by one.
            others: the other attributes of a request, and those of `Limits` (`max_exits`, `max_extra_params`,
                `max_memory`, `max_energy`, `min_value_at`, `force`, `forbid`).

        Raises:
            InputError: something that cannot be read, is out of range, or cannot be asked together.
        """
        for old, new in _FORMER.items():
            if old in others:
                warnings.warn(f"the keyword {old} is called {new} now", DeprecationWarning, stacklevel=3)
                others[new] = others.pop(old)
        if unknown := others.keys() - {*cls.model_fields, *_LIMITS}:
            raise one_of("keyword of a search", sorted(unknown)[0], [*cls.model_fields, *_LIMITS])
        named = {name: others.pop(name) for name in _LIMITS if name in others}
        limits = Limits.given("limit", **{name: list(v) if isinstance(v, tuple) else v for name, v in named.items()})
        limits = limits.tightened(others.pop("limits", None) or Limits())
        if isinstance(objectives, str):
            objectives = [name.strip() for name in objectives.split(",")]
        try:
            return cls(
                budget=str(parse_budget(budget) if isinstance(budget, str) else budget),
                limits=limits.tightened(space.limits if space else Limits()),
                candidates=others.pop("candidates", None)
                or Candidates.of(heads=heads, placements=placements, space=space),
                objectives=list(objectives),
                **others,
            )
        except ValidationError as error:
            raise InputError(f"{validation_sentence(error, 'request')}; correct it") from None

    @field_validator("policy", "score", mode="before")
    @classmethod
    def _check_name(cls, found: object, info: Any) -> object:
        known: tuple[str, ...] = POLICIES if info.field_name == "policy" else SCORES
        if found not in known:
            raise one_of("policy" if info.field_name == "policy" else "confidence", found, known)
        return found

    @field_validator("objectives", mode="before")
    @classmethod
    def _check_objectives(cls, names: Sequence[str]) -> Sequence[str]:
        for name in names:
            if name not in OBJECTIVES:
                raise one_of("objective", name, OBJECTIVES)
        if names and ("value" not in names or len(set(names)) != len(names) or len(names) not in (2, 3)):
            raise InputError(
                f"the objectives are value and one or two of params, energy and time, each once, found "
                f"{','.join(names)}; "
                "write for example value,params"
            )
        return [name for name in OBJECTIVES if name in names]

    @model_validator(mode="after")
    def _check_together(self) -> SearchRequest:
        if self.quantile is not None and (self.policy != "confidence" or not 0 < self.quantile < 1):
            raise InputError(
                f"a quantile of the latency, above 0 and below 1, goes with the policy confidence, whose inputs take "
                f"different times; found {self.quantile:g} with {self.policy}; "
                "give one such as 0.95 with --policy confidence, or leave it out"
            )
        if self.objectives and self.policy == "confidence":
            raise InputError(
                "several objectives need one value an exit, which the policy confidence does not have; "
                "choose --policy interruptible or contract"
            )
        if self.limits.min_value_at and self.policy == "confidence":
            raise InputError(
                "a least value at a budget cannot be combined with the policy confidence, whose value depends on "
                "thresholds; choose --policy interruptible or contract"
            )
        return self

    @property
    def needs_energy(self) -> bool:
        """Whether the costs must hold energies."""
        return self.limits.max_energy is not None or "energy" in self.objectives

    def changed(self, **update: object) -> SearchRequest:
        """The same with other values of some fields, which keep to the rules already."""
        return self.model_copy(update=update)


class AskedRequest(SearchRequest):
    """A request as chosen.json keeps it, with how it was searched.

    Attributes:
        seed: of Optuna's sampler and of the bootstrap.
        trials: Optuna's trials in all.
        pairs: how many (placement, head) pairs could be chosen.
        choices: how many choices these make, limits left aside.
        identity: digest of all else here, so that a change by hand shows.
    """

    seed: int = 0
    trials: int = Field(default=TRIALS, ge=0)
    pairs: int = Field(ge=0)
    choices: float = Field(ge=1)
    identity: str = ""

    @property
    def digest(self) -> str:
        """What `identity` should be."""
        text = json.dumps(self.model_dump(mode="json", exclude={"identity"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def identified(self) -> Self:
        """The same with its identity."""
        return self.model_copy(update={"identity": self.digest})

    @property
    def question(self) -> SearchRequest:
        """The request alone."""
        return SearchRequest(**{name: getattr(self, name) for name in SearchRequest.model_fields})
