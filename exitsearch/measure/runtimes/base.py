"""Runtime: the units that the latency protocol runs, as plain callables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from exitsearch.models.backbone import Backbone, State
from exitsearch.models.heads import ExitHead
from exitsearch.specs.profile import Scalar

# (placement, head): which exit head, where.
UnitKey = tuple[int, str]
Unit = TypeVar("Unit")


class Runtime(ABC):
    """A backbone and its candidate heads, made ready to run in one way.

    What the units hand to each other (`state`, features, outputs) is the runtime's own business: torch tensors, or
    arrays of another library.

    Args:
        backbone: on the device and in the dtype to measure.
        heads: exit heads on the same device and in the same dtype.
        example: one batch, on the same device: runtimes that fix shapes fix these.
        side: one batch of each side input that heads read, by name, on the same device. It is handed to them in every
            pass, and what they compute of it is computed anew each time: nothing may take it for a constant.

    Attributes:
        name: the runtime's name in options and files.
        summary: what it is, in a line.
        cuts_are_free: whether the segments one after the other do just what the plain backbone does. Where units are
            compiled, recorded or loaded apart, they do not, and the plain backbone alone is faster.
        allocates: whether every run takes its memory from torch's allocator, whose peaks can then be read.
        segments: `segment(state) -> state` for each placement.
        heads: `head(features) -> outputs`.
        final: `final(state) -> outputs`.
        whole: `whole(x) -> outputs`, the plain backbone.
        identity: facts without which its times cannot be compared (a library's version, a mode).
        preparation: what making it ready took, for the profile's `protocol`.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    cuts_are_free: ClassVar[bool] = False
    allocates: ClassVar[bool] = False
    segments: Sequence[Callable[[Any], Any]]
    heads: Mapping[UnitKey, Callable[[Any], Any]]
    final: Callable[[Any], Any]
    whole: Callable[[Any], Any]
    identity: Mapping[str, Scalar] = MappingProxyType({})
    preparation: Mapping[str, Scalar] = MappingProxyType({})

    @abstractmethod
    def __init__(
        self,
        backbone: Backbone,
        heads: Mapping[UnitKey, nn.Module],
        *,
        example: Tensor,
        side: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None: ...

    @classmethod
    @abstractmethod
    def check(cls, device: torch.device, dtype: str) -> None:
        """Refuse what this runtime cannot do, before any work.

        Raises:
            UnavailableError: a package is missing.
            InputError: the device or dtype does not suit it.
        """

    @abstractmethod
    def begin(self, x: Any) -> Any:
        """The state that the first segment takes, from an input."""

    @abstractmethod
    def features(self, state: Any) -> Any:
        """What a head at this placement reads."""

    @abstractmethod
    def decide(self, outputs: Any) -> object:
        """Turn outputs into an answer on the host; on a device this waits for it."""


def heads_by_placement(heads: Mapping[UnitKey, object]) -> dict[int, list[UnitKey]]:
    """The keys of heads, by the placement where they attach."""
    found: dict[int, list[UnitKey]] = {}
    for key in heads:
        found.setdefault(key[0], []).append(key)
    return found


def side_values(head: nn.Module, side: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those side inputs that a head reads, in its own order; none for most heads."""
    return {name: side[name] for name in head.reads} if isinstance(head, ExitHead) else {}


class OnState(nn.Module):
    """A head that reads side inputs, as a unit that takes a state: the features, then each of those inputs."""

    def __init__(self, head: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.head = head
        self.names = tuple(names)

    def forward(self, state: State) -> Tensor:
        """What the head answers."""
        outputs: Tensor = self.head(state[0], **dict(zip(self.names, state[1:], strict=True)))
        return outputs


@dataclass(frozen=True)
class UnitsApart(Generic[Unit]):
    """The units of a runtime that makes each of them ready alone, by the names of `Runtime`.

    Those of `heads` that stand in `beside` take a state: the features, and then these side inputs.
    """

    segments: list[Unit]
    heads: dict[UnitKey, Unit]
    final: Unit
    whole: Unit
    beside: dict[UnitKey, tuple[Tensor, ...]]


def make_apart(
    backbone: Backbone,
    heads: Mapping[UnitKey, nn.Module],
    make: Callable[[nn.Module, Any], tuple[Unit, Any]],
    *,
    example: Tensor,
    side: Mapping[str, Tensor] = MappingProxyType({}),
) -> UnitsApart[Unit]:
    """Make every unit ready with what it will read, in the order of a pass.

    Args:
        backbone: as for `Runtime`.
        heads: the same.
        make: from a module and its argument to the unit and the module's result.
        example: one batch.
        side: one batch of each side input, by name.
    """
    placed = heads_by_placement(heads)
    segments: list[Unit] = []
    ready: dict[UnitKey, Unit] = {}
    beside: dict[UnitKey, tuple[Tensor, ...]] = {}
    state: State = (example,)
    for placement, segment in enumerate(backbone.segments):
        unit, state = make(segment, state)
        segments.append(unit)
        for key in placed.get(placement, []):
            if values := side_values(heads[key], side):
                beside[key] = tuple(values.values())
                ready[key] = make(OnState(heads[key], tuple(values)), (state[0], *beside[key]))[0]
            else:
                ready[key] = make(heads[key], state[0])[0]
    return UnitsApart(segments, ready, make(backbone.final, state)[0], make(backbone.module, example)[0], beside)


def on_features(units: UnitsApart[Callable[[Any], Any]]) -> dict[UnitKey, Callable[[Any], Any]]:
    """Heads of torch's own tensors as `Runtime.heads` has them: side inputs are handed over beside the features."""

    def fused(unit: Callable[[Any], Any], values: tuple[Tensor, ...]) -> Callable[[Any], Any]:
        return lambda features: unit((features, *values))

    return {key: fused(unit, units.beside[key]) if key in units.beside else unit for key, unit in units.heads.items()}


def decide_on_host(scores: NDArray[Any], task: str) -> object:
    """Answer and confidence of every input, from outputs on the host; for regression the values themselves.

    Args:
        scores: outputs [batch, num_outputs].
        task: of the backbone.
    """
    if task == "regression":
        return scores.tolist()
    scores = scores.astype(np.float32, copy=False)
    answer = scores.argmax(axis=-1)
    # The largest softmax probability: exp(max - max) over the sum.
    confidence = 1 / np.exp(scores - scores.max(axis=-1, keepdims=True)).sum(axis=-1)
    return confidence.tolist(), answer.tolist()
