"""Verification (`verify.json`): what a bundle was predicted to do on a machine, and what it was observed to do there.

A verification has phases, each a run of requests one after the other:

    quiet, own policy    the bundle's own policy, nothing else started: this one decides
    quiet, deadlines     every budget known as a hard deadline (only where that is not the bundle's own policy)
    load, ...            both again beside busy processes; deadlines with and without the on-line correction, in turns
    after, deadlines     `settle` seconds after the busy processes have ended, with the session that ran beside them
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from exitsearch.specs.document import Document, Part
from exitsearch.specs.frames.bundle import VERIFICATION
from exitsearch.specs.frames.frame import Frame
from exitsearch.specs.profile import Scalar
from exitsearch.specs.question.request import Policy

Share = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(ge=0)]


class ExitUse(Part):
    """How one exit is used.

    Attributes:
        exit: its name, as `3:linear` or `final`.
        share: of all requests, answered by it.
        median_ms, p90_ms, p99_ms: from a request's arrival to its answer; None: not known, for want of answers.
    """

    exit: str
    share: Share
    median_ms: Milliseconds | None = None
    p90_ms: Milliseconds | None = None
    p99_ms: Milliseconds | None = None


class Predicted(Part):
    """What a phase should show.

    Attributes:
        value: expected value for the budgets that requests really had, by the values that the bundle states.
        distribution_value: the same for the budget distribution itself.
        samples_value: for the budgets that requests had, by what each exit is worth on the very samples that were asked
            (every exit run over them, without a deadline); None where they have no labels, and under `confidence`.
        no_answer: share of requests.
        exits: the final one last.
    """

    value: float
    distribution_value: float
    samples_value: float | None = None
    no_answer: Share
    exits: list[ExitUse]


class Lateness(Part):
    """By how much something came behind its time.

    Attributes:
        share: of those that could have been late.
        median_ms, worst_ms: of those that were; None: none was.
    """

    share: Share
    median_ms: Milliseconds | None = None
    worst_ms: Milliseconds | None = None


class Observed(Part):
    """What a phase showed.

    Attributes:
        requests: how many there were.
        value: mean over requests; one without an answer counts as the fallback, a late answer as an answer.
        interval: bootstrap 95% interval of it, over the samples that were asked.
        no_answer: share of requests without an answer, refusals among them.
        refused: share of requests that were refused beforehand.
        late: answers behind a hard deadline; None where there was none.
        struck: interruptions behind the budget that was drawn, beyond 0.25 ms; None where nothing was interrupted.
        exits: the final one last.
    """

    requests: int = Field(ge=1)
    value: float
    interval: tuple[float, float]
    no_answer: Share
    refused: Share
    late: Lateness | None = None
    struck: Lateness | None = None
    exits: list[ExitUse]


class Phase(Part):
    """One run of requests.

    Attributes:
        name: in words.
        policy: how requests were asked.
        load: busy processes beside it.
        correction: whether plans were corrected by how slow the machine was.
        decides: whether its value decides the status.
        allowed: the prediction's interval.
        within: whether the observed value lies in it.
        predicted: what was to be expected of these requests.
        observed: what happened.
        state: how busy the machine was.
    """

    name: str
    policy: Policy
    load: int = Field(ge=0)
    correction: bool
    decides: bool
    predicted: Predicted
    observed: Observed
    allowed: tuple[float, float]
    within: bool
    state: dict[str, Scalar]


class Verification(Document):
    """What was verified.

    Attributes:
        created: when, in ISO 8601, UTC.
        bundle: its folder.
        bundle_identity: of its manifest.
        cpu: of this machine.
        budget: the distribution that budgets were drawn from, in ms.
        data: whose report split was asked; None: random inputs.
        samples: different inputs.
        values_observed: whether answers were compared with labels; else each counts as what its exit is stated to be
            worth, so that times alone are verified.
        seconds: of all phases together.
        pause_ms: before every request.
        settle: seconds between the end of the load and the requests afterwards.
        quantile: by which deadlines were planned.
        seed: of budgets and samples.
        phases: in the order that they were run.
        sentences: what is to be known, for people.
        within: whether the phase that decides is within its prediction's interval.
    """

    kind: ClassVar[str] = "verification"
    frame: ClassVar[Frame] = VERIFICATION
    created: str = ""
    bundle: str
    bundle_identity: str
    cpu: str
    budget: str
    data: str | None = None
    samples: int = Field(ge=1)
    values_observed: bool
    seconds: float = Field(gt=0)
    settle: float = Field(default=0.0, ge=0)
    pause_ms: Milliseconds = 0.0
    quantile: float
    seed: int
    phases: list[Phase] = Field(min_length=1)
    sentences: list[str]
    within: bool
