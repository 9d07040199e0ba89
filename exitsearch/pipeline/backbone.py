"""BackboneRequest: which backbone is meant and what it is made with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import field_validator

from exitsearch.errors import UnavailableError
from exitsearch.pipeline.watch import Watch
from exitsearch.specs.backbone import EMBEDDED_NAME, Task
from exitsearch.specs.document import Part
from exitsearch.specs.question.space import SearchSpace
from exitsearch.specs.side import SideInputs, parse_side_inputs

if TYPE_CHECKING:
    from exitsearch.models.backbone import Backbone


class BackboneRequest(Part):
    """A backbone as it is asked for; the arguments of `create_backbone`.

    Attributes:
        name: timm's name of the model.
        pretrained: True insists on timm's weights, False does without; None takes the best that can be had.
        checkpoint: a local safetensors file of weights.
        num_outputs: classes or regression targets; None keeps the model's own number, or the data's.
        image_size: side of the input in pixels, or (height, width); None keeps the model's own.
        in_chans: channels of the input; None keeps the model's own.
        task: what the outputs mean.
        side_inputs: (channels, height, width) of each further input by name, or their text (`audio=1x32x64`); None
            means there are none.
        seed: of random weights.
    """

    name: str = EMBEDDED_NAME
    pretrained: bool | None = None
    checkpoint: Path | None = None
    num_outputs: int | None = None
    image_size: int | tuple[int, int] | None = None
    in_chans: int | None = None
    task: Task = "classification"
    side_inputs: SideInputs | None = None
    seed: int = 0

    @field_validator("side_inputs", mode="before")
    @classmethod
    def _read_side_inputs(cls, given: object) -> object:
        return parse_side_inputs(given) if isinstance(given, str) else given or None

    def within(self, space: SearchSpace | None) -> BackboneRequest:
        """The same with what a space knows of its backbone where nothing was asked for."""
        if space is None:
            return self
        theirs = space.backbone
        update: dict[str, Any] = {}
        if self.image_size is None and theirs.input_size:
            update["image_size"] = (theirs.input_size[1], theirs.input_size[2])
        if self.in_chans is None and theirs.input_size:
            update["in_chans"] = theirs.input_size[0]
        if self.num_outputs is None:
            update["num_outputs"] = theirs.num_outputs
        if self.side_inputs is None:
            update["side_inputs"] = theirs.side_inputs or None
        return self.model_copy(update=update)

    @classmethod
    def asked(cls, model: str | None, *, space: SearchSpace | None, **given: object) -> BackboneRequest:
        """A backbone from what was given and what a space knows of it.

        Args:
            model: timm's name; None takes the space's backbone, or the embedded default.
            given: the other attributes.
        """
        name = model or (space.backbone.name if space else None) or EMBEDDED_NAME
        return cls.given("backbone", name=name, **given).within(space)

    def changed(self, **update: object) -> BackboneRequest:
        """The same with other values of some fields."""
        return self.model_copy(update=update)

    @property
    def key(self) -> str:
        """What a backbone's weights and shape depend on besides its name, for digests."""
        return repr({name: str(value) for name, value in self.arguments.items() if value is not None})

    @property
    def arguments(self) -> dict[str, Any]:
        """The keywords of `create_backbone`."""
        return {key: value for key, value in self if key != "name"}

    def create(self, *, device: str | None = None) -> Backbone:
        """Make it.

        Args:
            device: where to put it; `meta` for shapes alone, without weights.
        """
        from exitsearch.models.backbone import create_backbone

        arguments = self.arguments | ({"pretrained": False, "checkpoint": None} if device == "meta" else {})
        return create_backbone(self.name, device=device, **arguments)

    def create_trained(self, watch: Watch) -> Backbone:
        """Make it with the best weights that can be had: asked for, pretrained, or (said aloud) random ones."""
        if self.pretrained is not None or self.checkpoint is not None:
            return self.create()
        try:
            return self.changed(pretrained=True).create()
        except UnavailableError as error:
            watch.note(f"{error}. Going on with RANDOM weights: values will be far below those of a trained backbone.")
            return self.create()
