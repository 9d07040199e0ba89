"""Plain ONNX Runtime: one graph, one answer at its end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from exitsearch.measure.runtimes.onnx_export import onnx_program
from exitsearch.runtime.deadline import Times
from exitsearch.runtime.library import PROVIDER, load_onnxruntime, session_options, share_arena
from peers.asking import Array, Clock, Peer, Reply
from peers.planning import Correction

# protobuf, and so an ONNX file with its weights inside, ends at 2 GiB.
_LARGEST_INLINE_BYTES = 2**30


class Graph:
    """A module as an ONNX graph for one input at a time, in a session with the options of `exitsearch.runtime`.

    Shapes are fixed: nobody who answers one by one would leave them open, and engines do better so.

    Args:
        module: takes one tensor.
        example: of it, a batch of one.
        path: to write.
        outputs: names of what it gives.
        threads: of a run.
    """

    def __init__(
        self, module: nn.Module, example: Tensor, *, path: Path, outputs: Sequence[str] = ("outputs",), threads: int
    ) -> None:
        program = onnx_program(
            module,
            (example,),
            what=path.stem,
            remedy="leave it out",
            input_names=["x"],
            output_names=list(outputs),
        )
        size = sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
        program.save(path, external_data=size > _LARGEST_INLINE_BYTES)
        self.megabytes = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) / 1e6
        library = load_onnxruntime()
        share_arena(library)
        self._session: Any = library.InferenceSession(
            str(path), session_options(library, threads=threads), providers=[PROVIDER]
        )
        self._outputs = list(outputs)

    def __call__(self, x: Array) -> list[Array]:
        """Its outputs for a batch of one."""
        found: list[Array] = self._session.run(self._outputs, {"x": x})
        return found


class Static(Peer):
    """A model with one answer, which is refused where it would come too late at p99.

    Args:
        name: of the model.
        words: what it is.
        graph: of it.
        inputs: prepared as it was trained, each [1, channels, height, width].
        score: accuracy on the choice split.
    """

    def __init__(
        self,
        name: str,
        words: str,
        *,
        graph: Graph,
        inputs: Sequence[Array],
        score: float,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.name, self.words, self.megabytes, self.score = name, words, graph.megabytes, score
        self._graph, self._inputs, self._clock = graph, inputs, clock
        self._times: Times | None = None

    def run(self, sample: int) -> Array:
        """Outputs for a sample, no matter how long that takes."""
        outputs: Array = self._graph(self._inputs[sample])[0][0]
        return outputs

    def plan(self, times: Times) -> None:
        """Go by these times from now on."""
        self._times, self._correction = times, Correction(times, clock=self._clock)

    @property
    def times(self) -> Times:
        """That it goes by."""
        assert self._times is not None
        return self._times

    def fits(self, budget_ms: float) -> bool:
        """Whether it answers in time at p99."""
        return self.times.late <= self._correction.within(budget_ms)

    def ask(self, sample: int, budget_ms: float) -> Reply:
        arrived = self._clock()
        if not self.fits(budget_ms):
            return Reply(None, (self._clock() - arrived) * 1e3, refused=True)
        outputs = self.run(sample)
        outputs.argmax()
        time_ms = (self._clock() - arrived) * 1e3
        self._correction.observe(time_ms, median_ms=self.times.median)
        return Reply(outputs, time_ms, 0)
