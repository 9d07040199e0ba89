"""Runtime: the units that the latency protocol runs, as plain callables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from exitsearch.models.backbone import Backbone

# (placement, head): which exit head, where.
UnitKey = tuple[int, str]


class Runtime(ABC):
    """A backbone and its candidate heads, made ready to run in one way.

    What the units hand to each other (`state`, features, outputs) is the runtime's own business: torch tensors, or
    arrays of another library.

    Args:
        backbone: on the device and in the dtype to measure.
        heads: exit heads on the same device and in the same dtype.

    Attributes:
        name: the runtime's name in options and files.
        summary: what it is, in a line.
        segments: `segment(state) -> state` for each placement.
        heads: `head(features) -> outputs`.
        final: `final(state) -> outputs`.
        whole: `whole(x) -> outputs`, the plain backbone.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    segments: Sequence[Callable[[Any], Any]]
    heads: Mapping[UnitKey, Callable[[Any], Any]]
    final: Callable[[Any], Any]
    whole: Callable[[Any], Any]

    @abstractmethod
    def __init__(self, backbone: Backbone, heads: Mapping[UnitKey, nn.Module]) -> None: ...

    @abstractmethod
    def begin(self, x: Any) -> Any:
        """The state that the first segment takes, from an input."""

    @abstractmethod
    def features(self, state: Any) -> Any:
        """What a head at this placement reads."""

    @abstractmethod
    def decide(self, outputs: Any) -> object:
        """Turn outputs into an answer on the host; on a device this waits for it."""
