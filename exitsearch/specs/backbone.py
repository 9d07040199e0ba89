"""BackboneFacts: which backbone a document speaks of. The same four keys in every file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from exitsearch.errors import MismatchError
from exitsearch.specs.document import Part

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
    """

    name: str | None
    input_size: tuple[int, int, int] | None = None
    num_outputs: int | None = Field(default=None, ge=1)
    task: Task = "classification"

    def check_same(self, other: BackboneFacts, *, mine: str, others: str) -> list[str]:
        """Compare two documents' backbones; unknown facts match everything.

        Args:
            other: the other document's backbone.
            mine: words for the document of `self` in messages.
            others: words for the other document.

        Returns:
            Warnings: differences that shift times a little but leave the documents usable together.

        Raises:
            MismatchError: when they are of different backbones or input sizes.
        """
        for key in ("name", "input_size"):
            a, b = getattr(self, key), getattr(other, key)
            if a is not None and b is not None and a != b:
                raise MismatchError(
                    f"{mine} is of backbone {_shown(self)} and {others} of {_shown(other)}; "
                    f"both must have the same {key}: choose another file or make one of them again"
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
