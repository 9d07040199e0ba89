"""ExportedRuntime: every unit exported to ONNX, loaded by another library and run on the CPU.

Values travel between units as the library's own, over memory that is never copied.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from exitsearch.measure.runtimes.base import Runtime, UnitKey, decide_on_host, make_apart
from exitsearch.measure.runtimes.onnx_export import export_unit
from exitsearch.models.backbone import Backbone
from exitsearch.specs.profile import Scalar


class LoadedUnit(Protocol):
    """One unit in the library's hands: from its values to such values, in the order of the graph."""

    def __call__(self, values: tuple[Any, ...], /) -> tuple[Any, ...]:
        """Run it."""

    def first(self, values: tuple[Any, ...], /) -> Any:
        """The first output alone."""


class ExportedRuntime(Runtime):
    """Units that were exported, each loaded alone; what a library does is said by its subclass."""

    def __init__(
        self,
        backbone: Backbone,
        heads: Mapping[UnitKey, nn.Module],
        *,
        example: Tensor,
        side: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        begin = time.perf_counter()
        self._task = backbone.facts.task
        self._inputs: dict[int, tuple[Tensor, Any]] = {}
        load, self.identity = self.loader(example.dtype)

        def made(module: nn.Module, argument: Any) -> tuple[LoadedUnit, Any]:
            return load(export_unit(module, argument)), module(argument)

        with torch.inference_mode():
            units = make_apart(backbone, heads, made, example=example, side=side)
        self.segments = units.segments
        self.heads = {key: self._on_features(unit, units.beside.get(key, ())) for key, unit in units.heads.items()}
        self.final = units.final.first
        self.whole = lambda x: units.whole.first(self.begin(x))
        self.preparation = {"export_and_load_seconds": round(time.perf_counter() - begin, 3)}

    @abstractmethod
    def loader(self, dtype: torch.dtype) -> tuple[Callable[[Path], LoadedUnit], dict[str, Scalar]]:
        """What loads an ONNX file, with torch's number of threads, and the facts for `identity`.

        Args:
            dtype: of the weights.
        """

    @abstractmethod
    def shared(self, x: Tensor) -> Any:
        """The library's value over a tensor's own memory."""

    @abstractmethod
    def numbers(self, outputs: Any) -> NDArray[Any]:
        """The numbers of one of the library's values."""

    def begin(self, x: Tensor) -> tuple[Any, ...]:
        """The input as the library's value over the same memory; each is made once."""
        if id(x) not in self._inputs:
            # The tensor is kept: its memory is shared, and its id must stay its own.
            self._inputs[id(x)] = (x, self.shared(x.detach()))
        return (self._inputs[id(x)][1],)

    def _on_features(self, unit: LoadedUnit, side: tuple[Tensor, ...]) -> Callable[[Any], Any]:
        """A head as `Runtime.heads` has it: side inputs are handed over beside the features."""
        if not side:
            return unit.first
        values = tuple(self.begin(value)[0] for value in side)
        return lambda features: unit.first((*features, *values))

    def features(self, state: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: D102
        return state[:1]

    def decide(self, outputs: Any) -> object:
        """Answer and confidence of every input on the host; for regression the values themselves."""
        return decide_on_host(self.numbers(outputs), self._task)
