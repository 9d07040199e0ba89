"""Runtimes: how the units of a multi-exit model are executed while a profile is measured. One file per member."""

from __future__ import annotations

from exitsearch.errors import one_of
from exitsearch.measure.runtimes.base import Runtime, UnitKey
from exitsearch.measure.runtimes.compile import CompileRuntime
from exitsearch.measure.runtimes.cudagraph import CudaGraphRuntime
from exitsearch.measure.runtimes.eager import EagerRuntime
from exitsearch.measure.runtimes.onnxruntime import OnnxRuntime
from exitsearch.measure.runtimes.openvino import OpenVinoRuntime

RUNTIMES: dict[str, type[Runtime]] = {
    runtime.name: runtime for runtime in (EagerRuntime, CompileRuntime, CudaGraphRuntime, OnnxRuntime, OpenVinoRuntime)
}


def find_runtime(name: str) -> type[Runtime]:
    """The runtime of that name.

    Raises:
        InputError: when there is none.
    """
    if name not in RUNTIMES:
        raise one_of("runtime", name, RUNTIMES)
    return RUNTIMES[name]


__all__ = ["RUNTIMES", "Runtime", "UnitKey", "find_runtime"]
