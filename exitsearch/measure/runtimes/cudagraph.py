"""The cudagraph runtime: one CUDA graph for every segment, every head, the final part and the whole.

A graph is recorded once and replayed in one launch, so the host no longer paces small kernels (batch 1). Its addresses
are fixed:

    input buffer -> graph 0 -> state 0 -> graph 1 -> state 1 -> ... -> final
                                 |                     |
                               heads 0               heads 1

Each graph reads the very tensors that the one before it writes, so nothing is copied between units; only a new input
is copied into the input buffer, when a pass begins. All graphs draw on one memory pool. A unit's scratch memory may be
used again by the next one, for they never run at the same time; results are kept alive here, so theirs is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from exitsearch.errors import ExitSearchError, InputError
from exitsearch.measure.runtimes.base import UnitKey, make_apart, on_features
from exitsearch.measure.runtimes.eager import EagerRuntime
from exitsearch.models.backbone import Backbone, State

# Runs before a recording, so that libraries have chosen their kernels and allocated what they keep (torch's own
# recipe for whole-network capture runs three).
WARM_UP_RUNS = 3


class Recorder:
    """Records functions without arguments as CUDA graphs of one device, in one memory pool and on one side stream.

    Every stream that computes a matrix product keeps a workspace for it (32 MiB on Hopper), so all recordings share
    one. It is named when capturing too: torch's own belongs to whichever device was current at the process's first
    capture.

    Args:
        device: the CUDA device.
        cuda: `torch.cuda`, or a stand-in.
    """

    def __init__(self, device: torch.device, *, cuda: Any = torch.cuda) -> None:
        self.device = device
        self.cuda = cuda
        self.pool = cuda.graph_pool_handle()
        self.side = cuda.Stream(device=device)

    def record(self, run: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """Record one run, and replay it once: the first replay uploads the graph to the device.

        Returns:
            The replay, and the result that every replay writes anew.
        """
        with self.cuda.device(self.device):
            current = self.cuda.current_stream(self.device)
            self.side.wait_stream(current)
            with self.cuda.stream(self.side):
                for _ in range(WARM_UP_RUNS):
                    run()
            current.wait_stream(self.side)
            graph = self.cuda.CUDAGraph()
            with self.cuda.graph(graph, pool=self.pool, stream=self.side):
                result = run()
            graph.replay()
        return graph.replay, result


class CudaGraphRuntime(EagerRuntime):
    """CUDA graphs of eager kernels."""

    name = "cudagraph"
    summary = "CUDA graphs of torch's own kernels, one for every segment and head"
    cuts_are_free = False
    allocates = False
    identity = {"cuda_graphs": "per unit"}  # noqa: RUF012

    @classmethod
    def check(cls, device: torch.device, dtype: str) -> None:  # noqa: D102
        if device.type != "cuda":
            raise InputError(
                f"--runtime cudagraph needs a CUDA device, found --device {device}; use --device cuda, or --runtime "
                "compile on the CPU"
            )

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
        recorder = self.recorder(example.device)
        self._input = example.clone()
        with torch.no_grad():
            units = make_apart(backbone, heads, partial(_recorded, recorder), example=self._input, side=side)
        self.segments, self.heads, self.final = units.segments, on_features(units), units.final
        self.whole = lambda x: units.whole(self._input.copy_(x))
        self.preparation = {"capture_seconds": round(time.perf_counter() - begin, 3)}

    @staticmethod
    def recorder(device: torch.device) -> Recorder:
        """What graphs are recorded with."""
        return Recorder(device)

    def begin(self, x: Tensor) -> State:  # noqa: D102
        return (self._input.copy_(x),)


def _recorded(recorder: Recorder, unit: nn.Module, argument: Any) -> tuple[Callable[[Any], Any], Any]:
    """A unit as a function that replays its graph, and the result that it always returns.

    The function's argument is the buffer that the graph reads, which the unit before it has just written.
    """
    try:
        replay, result = recorder.record(lambda: unit(argument))
    except RuntimeError as error:
        cause = str(error).strip().splitlines()[0]
        raise ExitSearchError(
            f"--runtime cudagraph: {type(unit).__name__} cannot be recorded ({cause}); what waits for the device or "
            "copies to the host inside cannot; leave that head out, or use --runtime compile"
        ) from error

    def run(_: Any) -> Any:
        replay()
        return result

    return run, result
