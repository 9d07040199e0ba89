"""BackboneFacts: which backbone a document speaks of. The same four keys in every file."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from exitsearch.errors import MismatchError
from exitsearch.specs.document import Part
from exitsearch.specs.side import SideInputs, side_text

Task = Literal["classification", "regression"]

# The embedded default: what every command without --model means. Built in models/embedded.py.
EMBEDDED_NAME = "vit_digits_patch1_8"
# Embedded too, for the photographs of Fashion-MNIST.
FASHION_NAME = "vit_fashion_patch4_28"
# Those whose weights lie in the package.
PACKAGED_NAMES = (EMBEDDED_NAME, FASHION_NAME)


class BackboneFacts(Part):
    """The identity of a backbone.

    Attributes:
        name: timm's name of the model; None in tables that a user brought without `--model`.
        input_size: (channels, height, width) of one input; None when unknown.
        num_outputs: classes, or regression targets; None when unknown.
        task: what the outputs mean.
        side_inputs: (channels, height, width) of each further input, by name, which exit heads may read beside the
            features. Written only where there are any.
    """

    name: str | None
    input_size: tuple[int, int, int] | None = None
    num_outputs: int | None = Field(default=None, ge=1)
    task: Task = "classification"
    side_inputs: SideInputs = {}

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Documents of models without side inputs, which are nearly all, keep their identity.
        data: dict[str, Any] = handler(self)
        if not data.get("side_inputs"):
            data.pop("side_inputs", None)
        return data

    def check_same(self, other: BackboneFacts, *, mine: str, others: str) -> list[str]:
        """Compare two documents' backbones; unknown facts match everything.

        Args:
            other: the other document's backbone.
            mine: words for the document of `self` in messages.
            others: words for the other document.

        Returns:
            Warnings: differences that shift times a little but leave the documents usable together.

        Raises:
            MismatchError: when they are of different backbones or input sizes, or a side input of both has two sizes.
        """
        for key in ("name", "input_size"):
            a, b = getattr(self, key), getattr(other, key)
            if a is not None and b is not None and a != b:
                raise MismatchError(
                    f"{mine} is of backbone {_shown(self)} and {others} of {_shown(other)}; "
                    f"both must have the same {key}; choose another file or make one of them again"
                )
        for name in self.side_inputs.keys() & other.side_inputs.keys():
            if self.side_inputs[name] != other.side_inputs[name]:
                raise MismatchError(
                    f"{mine} is of side inputs {side_text(self.side_inputs)} and {others} of "
                    f"{side_text(other.side_inputs)}; {name} must have the same size in both; choose another file or "
                    "make one of them again"
                )
        if self.num_outputs and other.num_outputs and self.num_outputs != other.num_outputs:
            return [
                f"{mine} has {self.num_outputs} outputs and {others} {other.num_outputs}: the last layer of every "
                f"head differs a little in time; measure with --num-outputs {other.num_outputs} for exact times"
            ]
        return []


def _shown(facts: BackboneFacts) -> str:
    size = f" at {'x'.join(map(str, facts.input_size))}" if facts.input_size else ""
    return f"{facts.name or '(unnamed)'}{size}"
