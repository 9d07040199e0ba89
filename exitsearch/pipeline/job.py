"""SearchJob: a request, and where the numbers to answer it come from or how they are made."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from exitsearch.pipeline.backbone import BackboneRequest
from exitsearch.pipeline.outcomes import Training
from exitsearch.pipeline.profile import MAX_SECONDS, Measuring
from exitsearch.specs.backbone import EMBEDDED_NAME
from exitsearch.specs.document import Part
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.request import TRIALS, SearchRequest
from exitsearch.specs.question.space import SearchSpace

# A profile that is made on the way gets less time than one that was asked for.
MAX_SECONDS_ON_THE_WAY = MAX_SECONDS / 2


class SearchJob(Part):
    """All that `exitsearch search` is told, but for what it prints.

    Attributes:
        request: the question.
        space: that the request was made with; its knobs make it a search over settings.
        profile: itself, or a source as `load_profile` takes it; None takes the newest that fits, or makes one.
        outcomes: themselves, or a source as `load_outcomes` takes it; None takes the newest that fit, or trains heads.
        model: timm's name; None takes the space's backbone, or that of what is found.
        backbone: what it is made with where something is made; its name is not looked at.
        device: `cpu`, `cuda` or `cuda:N`; None takes any profile, and makes one on the CPU.
        batch_size: of the profile; None takes its first.
        measuring: how a profile is measured on the way.
        training: how heads are trained on the way.
        plugin: file that registered heads of the user's own.
        trials: Optuna's trials in all; settings, where there are knobs.
        seed: of everything random.
        storage: where Optuna keeps its study; None for memory.
        guard: whether to time the backbone again to see whether the profile still holds.
        tolerance: what candidates that are not trained may be able to add, in units of the value; None takes the
            default of `search/untrained.py`.
        train_all: train every candidate, whatever it could add.
    """

    request: SearchRequest
    space: SearchSpace | None = None
    profile: Profile | str | None = None
    outcomes: Outcomes | str | None = None
    model: str | None = None
    backbone: BackboneRequest = BackboneRequest()
    device: str | None = None
    batch_size: int | None = Field(default=None, ge=1)
    measuring: Measuring = Measuring(max_seconds=MAX_SECONDS_ON_THE_WAY)
    training: Training = Training()
    plugin: Path | None = None
    trials: int = Field(default=TRIALS, ge=0)
    seed: int = 0
    storage: str | None = None
    guard: bool = True
    tolerance: float | None = Field(default=None, ge=0)
    train_all: bool = False

    @property
    def has_knobs(self) -> bool:
        """Whether it is a search over settings."""
        return self.space is not None and bool(self.space.knobs.values)

    @property
    def wanted_name(self) -> str | None:
        """The backbone that was named, by itself or by the space; None leaves it open."""
        return self.model or (self.space.backbone.name if self.space else None)

    def backbone_named(self, name: str | None = None) -> BackboneRequest:
        """The backbone to make: of a name, or the one that was named, or the embedded default."""
        name = name or self.wanted_name or EMBEDDED_NAME
        return self.backbone.changed(name=name).within(self.space)
