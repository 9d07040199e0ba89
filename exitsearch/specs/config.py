"""MultiExitConfig (`chosen.json`): the chosen exits, and what they were chosen for."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from exitsearch.specs.backbone import BackboneFacts
from exitsearch.specs.document import Document, Part
from exitsearch.specs.head import HeadChoice, Option

Policy = Literal["interruptible", "contract"]


class ExitChoice(Part):
    """One chosen exit: a head type with its options at a placement."""

    placement: int = Field(ge=0)
    module: str | None = None
    head: str
    options: dict[str, Option] = {}

    @property
    def choice(self) -> HeadChoice:
        """Head type and options in one."""
        return HeadChoice(self.head, dict(self.options))


class Expected(Part):
    """What the search predicts.

    Attributes:
        value: expected value on `split`, with the latency noise of the profile.
        metric: accuracy or mae (then the value is minus the error).
        policy: when a budget becomes known.
        split: the split that was chosen on.
        held_out: expected value on the report split, which took no part in the choice; None when there is none.
        interval: bootstrap 95% interval of `held_out`.
    """

    value: float
    metric: Literal["accuracy", "mae"]
    policy: Policy
    split: str
    held_out: float | None = None
    interval: tuple[float, float] | None = None


class Optimum(Part):
    """The proof: the exact optimum's value, whether it is exact, and how far below it the choice is."""

    value: float
    exact: bool
    regret: Annotated[float, Field(ge=0)]


class MultiExitConfig(Document):
    """A chosen multi-exit configuration.

    Attributes:
        exits: chosen exits in placement order; the backbone's final exit always follows.
        budget: the budget distribution as text.
        latency_ms: when each chosen exit answers, every head on the way paid for, and last the final exit.
        exit_scores: per split, the metric of each chosen exit and last of the final exit.
        profile: identity of the profile, and its condition in words.
        outcomes: identity of the outcomes, and their source in words.
    """

    kind: ClassVar[str] = "multi-exit configuration"
    created: str = ""
    backbone: BackboneFacts
    exits: list[ExitChoice]
    policy: Policy
    budget: str
    expected: Expected
    optimum: Optimum
    latency_ms: list[float]
    exit_scores: dict[str, list[float]] = {}
    fallback: float | None = None
    price_of_not_knowing: float | None = None
    profile: dict[str, Any]
    outcomes: dict[str, Any]

    @model_validator(mode="after")
    def _check_exits(self) -> MultiExitConfig:
        placements = [exit_.placement for exit_ in self.exits]
        if placements != sorted(set(placements)):
            raise ValueError(f"exits must stand in placement order, one a placement, found placements {placements}")
        needed = len(self.exits) + 1
        for key, numbers in {"latency_ms": self.latency_ms, **self.exit_scores}.items():
            if len(numbers) != needed:
                raise ValueError(f"{key} needs {needed} numbers (every exit and the final one), found {len(numbers)}")
        return self
