"""SearchSpace (TOML, written by people): which placements and exit heads a search may choose from.

schema_version = 1
description = "the seven heads of Multi-Exit Vision Transformer on a small ViT"

[backbone]
name = "vit_tiny_patch16_224"

[[heads]]
type = "vit_ee"
placements = "0-5"          # left out: wherever the head fits

[limits]                    # each as on the command line, and together with it; left out: no limit
max_exits = 4
max_extra_params = 2000000
max_memory = "64MiB"
max_energy = "12mJ"
min_value_at = ["20ms=0.7"]
force = ["11"]
forbid = ["0", "1:vit_ee"]

[knobs]                     # see specs/question/knobs.py
threads = [1, 2]
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from exitsearch.specs.document import Document, Part
from exitsearch.specs.frames.config import SPACE
from exitsearch.specs.frames.frame import Frame
from exitsearch.specs.head import HeadChoice, Option
from exitsearch.specs.question.knobs import Knobs
from exitsearch.specs.question.limits import Limits
from exitsearch.specs.side import SideInputs


class SpaceBackbone(Part):
    """The backbone a space is meant for, and its side inputs; None leaves the choice to the command line.

    Attributes:
        name: timm's name of the model.
        input_size: channels, height and width.
        num_outputs: classes, or regression targets.
        side_inputs: further inputs that heads may read, each with its channels, height and width.
    """

    name: str | None = None
    input_size: tuple[int, int, int] | None = None
    num_outputs: int | None = Field(default=None, ge=1)
    side_inputs: SideInputs | None = None


class SpaceHead(Part):
    """One candidate head: its type, options, and where it may stand.

    Attributes:
        type: registered name of the head type.
        options: of the head type, by name.
        placements: as on the command line (`0,2,4-8`, `stages`); None means wherever it fits.
    """

    type: str
    options: dict[str, Option] = {}
    placements: str | None = None

    @property
    def choice(self) -> HeadChoice:
        """Head type and options in one."""
        return HeadChoice(self.type, dict(self.options))


class SearchSpace(Document):
    """Candidate placements and heads, limits on what may be chosen, and knobs around it.

    Attributes:
        description: what the space is for, for people.
        backbone: that it is meant for.
        heads: candidate heads; none means all types that fit.
        limits: on what may be chosen.
        placements: placements as on the command line (`0,2,4-8`, `layers.2.*`, `every:10%`, `stages`); None means all.
        knobs: what may be turned besides the exits.
    """

    kind: ClassVar[str] = "search space"
    frame: ClassVar[Frame] = SPACE
    description: str = ""
    backbone: SpaceBackbone = SpaceBackbone()
    placements: str | None = None
    heads: list[SpaceHead] = []
    limits: Limits = Limits()
    knobs: Knobs = Knobs()
