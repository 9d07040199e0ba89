"""MultiExitConfig (`chosen.json`): the chosen exits, and what they were chosen for."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from exitsearch.specs.backbone import BackboneFacts
from exitsearch.specs.document import Document, Part
from exitsearch.specs.frames.config import CONFIG
from exitsearch.specs.frames.frame import Frame
from exitsearch.specs.head import HeadChoice, Option
from exitsearch.specs.question.knobs import ChosenSetting
from exitsearch.specs.question.request import AskedRequest, Policy, Score


class ExitChoice(Part):
    """One chosen exit: a head type with its options at a placement.

    Attributes:
        placement: number of the placement, from 0 in execution order.
        module: name of the module behind which it lies, as `blocks.3`; None where the profile did not know it.
        head: registered name of the head type.
        options: of the head type, those that differ from their defaults.
    """

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
        worth: what an answer is worth instead of the metric, in words: class weights, or a function; None: the metric.
    """

    value: float
    metric: Literal["accuracy", "mae"]
    policy: Policy
    split: str
    held_out: float | None = None
    interval: tuple[float, float] | None = None
    worth: str | None = None


class Untrained(Part):
    """What the candidates without a trained head could add.

    Attributes:
        candidates: how many (placement, head) pairs could be chosen, trained or not.
        trained: how many of them are trained.
        value: no choice among all of them is worth more, were every untrained head always right.
        could_add: `value` less the expected value of the choice.
        assumption: what `value` takes for granted beside the documents, in words; None: nothing, it is proved.
        exits: those that are not trained, as `3:vit_ee`.
    """

    candidates: int = Field(ge=0)
    trained: int = Field(ge=0)
    value: float
    could_add: Annotated[float, Field(ge=0)]
    assumption: str | None = None
    exits: list[str] = []

    @model_validator(mode="after")
    def _check_counts(self) -> Untrained:
        if self.trained + len(self.exits) != self.candidates:
            raise ValueError(
                f"trained and untrained candidates must add up to {self.candidates}, found {self.trained} and "
                f"{len(self.exits)}"
            )
        return self


class Optimum(Part):
    """The proof: the exact optimum's value, whether it is exact, and how far below it the choice is.

    All of it is of the trained candidates; what the others could add stands under `untrained`.

    Attributes:
        value: of all choices; where it is not exact, no choice is worth more.
        exact: whether some choice is proved to be worth as much.
        regret: how far the choice is below it.
        proved_on_front: for a point of a front, whether no choice that costs no more is worth more; else None.
        untrained: what candidates without a trained head could add; None where it was not asked.
    """

    value: float
    exact: bool
    regret: Annotated[float, Field(ge=0)]
    proved_on_front: bool | None = None
    untrained: Untrained | None = None


class OperatingPoint(Part):
    """What to do under one limit on the mean latency, or on the table's quantile of it over samples.

    Attributes:
        budget_ms: from this budget on; the mean (or quantile) on the split that was chosen on, at median times.
        thresholds: an input leaves at the first exit whose score is at least its threshold; None: that exit's head is
            not run (under `patience`: it is run, and nothing leaves).
        exit_rates: share of inputs leaving at each exit and last at the final exit.
        value: accuracy on the split that was chosen on.
        report_ms: mean (or quantile) on the report split.
        report_value: accuracy on the report split.
    """

    budget_ms: Annotated[float, Field(ge=0)]
    thresholds: list[float | None]
    exit_rates: list[Annotated[float, Field(ge=0, le=1)]]
    value: float
    report_ms: float | None = None
    report_value: float | None = None


class Confidence(Part):
    """The table by which the policy `confidence` runs.

    Attributes:
        score: `softmax` (largest probability), `entropy` (1 minus the entropy over its largest possible), `margin`
            (largest minus second largest probability) or `patience` (answers in a row that agree with the one before).
        temperatures: by which each exit's outputs are divided before the softmax.
        points: operating points by rising budget; below the first no answer is in time.
        quantile: of the latency over samples that budgets limit; None: the mean.
    """

    score: Score
    temperatures: list[Annotated[float, Field(gt=0)]]
    points: list[OperatingPoint]
    quantile: float | None = Field(default=None, gt=0, lt=1)


class MultiExitConfig(Document):
    """A chosen multi-exit configuration.

    Attributes:
        created: when, in ISO 8601, UTC.
        backbone: that the exits are attached to.
        exits: chosen exits in placement order; the backbone's final exit always follows.
        policy: when a budget becomes known, and so which heads are run.
        budget: the budget distribution as text, in ms.
        expected: what the search predicts.
        optimum: the proof.
        latency_ms: when each chosen exit answers, every head on the way paid for, and last the final exit.
        exit_scores: per split, the metric of each chosen exit and last of the final exit.
        fallback: score of having no answer in time, with the metric's own sign; None where it was not known.
        price_of_not_knowing: what the same exits would be worth more if the budget were known as a request arrives;
            None under other policies than `interruptible`.
        confidence: thresholds for every budget, under the policy `confidence`; None under the others.
        setting: the values of the knobs that were chosen, where there were any.
        request: what was asked, so that the proof can be repeated; None in documents of before it was kept.
        profile: identity of the profile, and its condition in words.
        outcomes: identity of the outcomes, and their source in words; `scores`, a digest of those of all candidates,
            where further ones may be trained.
    """

    kind: ClassVar[str] = "multi-exit configuration"
    frame: ClassVar[Frame] = CONFIG
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
    confidence: Confidence | None = None
    setting: ChosenSetting | None = None
    request: AskedRequest | None = None
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
        if (self.policy == "confidence") != (self.confidence is not None):
            raise ValueError(f"confidence must stand there exactly under the policy confidence, found {self.policy}")
        for number, point in enumerate(self.confidence.points if self.confidence else []):
            found = (len(point.thresholds), len(point.exit_rates))
            if found != (needed - 1, needed):
                raise ValueError(
                    f"confidence.points[{number}] needs {needed - 1} thresholds and {needed} exit_rates, found "
                    f"{found[0]} and {found[1]}"
                )
        return self
