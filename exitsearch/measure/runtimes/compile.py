"""The compile runtime: torch.compile (inductor) over every segment, every head, the final part and the whole.

Each unit is compiled alone, without graph breaks and for one batch size, as a multi-exit model must be that stops where
its budget ends. Inductor's own cache makes units of equal structure cheap: the first block takes seconds, the others a
tenth of one. All of it happens before the protocol's warm-up and is recorded apart.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from exitsearch.errors import ExitSearchError, UnavailableError
from exitsearch.measure.runtimes.base import UnitKey, make_apart, on_features
from exitsearch.measure.runtimes.eager import EagerRuntime
from exitsearch.models.backbone import Backbone

# Units of one class share their code object, and torch allows few compilations of one. Where torch can (2.12 and
# later), each unit keeps its own; elsewhere the limit is raised while they are compiled.
_ISOLATES = "isolate_recompiles" in inspect.signature(torch.compile).parameters


class CompileRuntime(EagerRuntime):
    """torch.compile with its default mode."""

    name = "compile"
    summary = "torch.compile (inductor), every segment and head compiled by itself"
    cuts_are_free = False
    identity = {"compile_backend": "inductor", "compile_mode": "default"}  # noqa: RUF012

    @classmethod
    def check(cls, device: torch.device, dtype: str) -> None:  # noqa: D102
        from torch._inductor.exc import InvalidCxxCompiler

        if device.type != "cpu":
            return
        from torch._inductor.cpp_builder import get_cpp_compiler

        try:
            get_cpp_compiler()
        except (InvalidCxxCompiler, RuntimeError) as error:
            cause = str(error).strip().splitlines()[0]
            raise UnavailableError(
                f"--runtime compile on the CPU needs a C++ compiler, and torch finds none ({cause}); install g++, or "
                "name it in the environment variable CXX"
            ) from None

    def __init__(
        self,
        backbone: Backbone,
        heads: Mapping[UnitKey, nn.Module],
        *,
        example: Tensor,
        side: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        super().__init__(backbone, heads, example=example, side=side)
        begin = time.perf_counter()
        with torch.inference_mode(), _room_for(len(heads) + len(backbone.segments) + 2):
            units = make_apart(backbone, heads, _compiled, example=example, side=side)
        self.segments, self.heads, self.final, self.whole = units.segments, on_features(units), units.final, units.whole
        self.preparation = {"compile_seconds": round(time.perf_counter() - begin, 3)}


def _compiled(unit: nn.Module, argument: Any) -> tuple[Callable[[Any], Any], Any]:
    """A unit compiled and run twice (the second call finds what the first left to do), and its result."""
    options: dict[str, Any] = {"isolate_recompiles": True} if _ISOLATES else {}
    compiled = torch.compile(unit, fullgraph=True, dynamic=False, **options)
    try:
        compiled(argument)
        return compiled, compiled(argument)
    except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:
        # Dynamo and inductor word their errors over many lines; the first says what it was.
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExitSearchError(
            f"--runtime compile: torch cannot compile {type(unit).__name__} as one graph ({cause}); leave that head "
            "out, or use --runtime eager"
        ) from error


def _room_for(units: int) -> Any:
    """Allow so many compilations of one code object, inside."""
    import torch._dynamo.config as dynamo

    names = ("recompile_limit", "accumulated_recompile_limit")
    return dynamo.patch({name: max(2 * units, getattr(dynamo, name)) for name in names if hasattr(dynamo, name)})
