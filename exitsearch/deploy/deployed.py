"""A bundle's graphs as a `Runtime`, so that the protocols of `measure/` time and check them as they are deployed.

Its segments are the fused ones: what those protocols call placement k is chosen exit k here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitsearch.deploy.given import Given
from exitsearch.measure.runtimes.base import Runtime, UnitKey, decide_on_host
from exitsearch.measure.runtimes.onnxruntime import OnnxSession, onnx_library
from exitsearch.measure.runtimes.openvino import OpenVinoUnit, openvino_library, unit_options
from exitsearch.runtime.library import session_options, share_arena
from exitsearch.specs.backbone import Task
from exitsearch.specs.bundle import BundleHead, BundleSegment, Format

Arrays = NDArray[Any]
# Names to values of the engine: what is ready behind a segment.
Ready = dict[str, Any]

_FAULT, _REMEDY = "{engine} cannot load {name}", "export again with another --precision or --format"


@dataclass(frozen=True)
class DeployedGraphs:
    """Where the graphs of a bundle are, and that of the plain backbone to compare with.

    Attributes:
        folder: they stand in.
        input_name: of the first segment.
        segments: in order, the final part last.
        heads: in order.
        whole: file of the plain backbone.
        task: what outputs mean.
    """

    folder: Path
    input_name: str
    segments: Sequence[BundleSegment]
    heads: Sequence[BundleHead]
    whole: Path
    task: Task

    @property
    def keys(self) -> list[UnitKey]:
        """Every head by the names of the protocols."""
        return [(head.exit, Path(head.file).stem) for head in self.heads]


class DeployedRuntime(Runtime):
    """The graphs of a bundle in an engine; subclasses know which.

    Args:
        graphs: where they are.
        threads: of one run, from 1.
        batch_size: of the inputs, for engines that fix it.
    """

    summary = "the graphs of a bundle"

    def __init__(self, graphs: DeployedGraphs, *, threads: int, batch_size: int = 1) -> None:
        self._task = graphs.task
        self._input_name = graphs.input_name
        self._inputs: dict[int, tuple[Given, Ready]] = {}
        load = partial(self._load, threads=threads, batch_size=batch_size)
        side = sorted({name for head in graphs.heads for name in head.side_inputs})
        self.segments = [_Segment(load(graphs.folder / facts.file), facts, side) for facts in graphs.segments[:-1]]
        self.heads = {
            key: _First(load(graphs.folder / facts.file), (facts.input, *facts.side_inputs))
            for key, facts in zip(graphs.keys, graphs.heads, strict=True)
        }
        last = graphs.segments[-1]
        self.final = _First(load(graphs.folder / last.file), last.inputs)
        whole = _First(load(graphs.whole), (graphs.input_name,))
        self.whole = lambda x: whole(self.begin(x))

    @classmethod
    def check(cls, device: Any, dtype: str) -> None:  # noqa: D102
        raise NotImplementedError("a bundle's graphs are made ready from a bundle alone")

    @abstractmethod
    def _load(self, path: Path, *, threads: int, batch_size: int) -> Any:
        """A unit from a tuple of values, in the order of the graph's inputs, to such a tuple."""

    @abstractmethod
    def _value(self, x: Arrays) -> Any:
        """An array as the engine's value, sharing its memory."""

    @abstractmethod
    def _array(self, value: Any) -> Arrays:
        """A value of the engine as an array; the engine may write over it in the next run."""

    def begin(self, x: Given) -> Ready:
        """The inputs [batch, channels, height, width] as the engine's values over the same memory; made once each.

        Args:
            x: the input, or all inputs by name.
        """
        if id(x) not in self._inputs:
            # The arrays are kept: their memory is shared, and the id must stay its own.
            given = x if isinstance(x, Mapping) else {self._input_name: x}
            self._inputs[id(x)] = (x, {name: self._value(array) for name, array in given.items()})
        return self._inputs[id(x)][1]

    def features(self, state: Ready) -> Ready:  # noqa: D102
        return state

    def decide(self, outputs: Any) -> object:
        """Answer and confidence of every input on the host; for regression the values themselves."""
        return decide_on_host(self._array(outputs), self._task)

    def answers(self, x: Given) -> list[Arrays]:
        """Outputs [batch, num_outputs] of every exit in order, the final one last."""
        state, found = self.begin(x), []
        heads = list(self.heads.values())
        for segment, head in zip(self.segments, heads, strict=True):
            state = segment(state)
            found.append(self._array(head(state)).copy())
        found.append(self._array(self.final(state)).copy())
        self._inputs.pop(id(x))
        return found


class _Segment:
    """A unit that takes values by their names and gives the next ones, side inputs among them as they are."""

    def __init__(self, unit: Any, facts: BundleSegment, beside: Sequence[str]) -> None:
        self._unit, self._takes, self._gives = unit, tuple(facts.inputs), tuple(facts.outputs)
        self._beside = tuple(beside)

    def __call__(self, ready: Ready) -> Ready:
        given = self._unit(tuple(ready[name] for name in self._takes))
        return {name: ready[name] for name in self._beside} | dict(zip(self._gives, given, strict=True))


class _First:
    """A unit that takes values by their names and gives one."""

    def __init__(self, unit: Any, takes: Sequence[str]) -> None:
        self._unit, self._takes = unit, tuple(takes)

    def __call__(self, ready: Ready) -> Any:
        return self._unit(tuple(ready[name] for name in self._takes))[0]


class DeployedOnnx(DeployedRuntime):
    """ONNX Runtime on the CPU, with the options of `exitsearch.runtime`."""

    name = "onnxruntime"

    def __init__(self, graphs: DeployedGraphs, *, threads: int, batch_size: int = 1) -> None:
        self._library = onnx_library()
        super().__init__(graphs, threads=threads, batch_size=batch_size)
        self.identity = {"onnxruntime": self._library.__version__}

    def _load(self, path: Path, *, threads: int, batch_size: int) -> OnnxSession:
        # The very options of the runtime, or these would be the times of another program than the one that answers.
        share_arena(self._library)
        options = session_options(self._library, threads=threads)
        return OnnxSession(
            self._library,
            path,
            options,
            fault=_FAULT.format(engine="onnxruntime", name=path.name),
            remedy=_REMEDY,
        )

    def _value(self, x: Arrays) -> Any:
        return self._library.OrtValue.ortvalue_from_numpy(x)

    def _array(self, value: Any) -> Arrays:
        found: Arrays = value.numpy()
        return found


class DeployedOpenVino(DeployedRuntime):
    """OpenVINO on the CPU, in single precision, shapes fixed to one batch size."""

    name = "openvino"

    def __init__(self, graphs: DeployedGraphs, *, threads: int, batch_size: int = 1) -> None:
        self._library = openvino_library()
        self._core = self._library.Core()
        super().__init__(graphs, threads=threads, batch_size=batch_size)
        self.identity = {"openvino": self._library.__version__.split("-")[0]}

    def _load(self, path: Path, *, threads: int, batch_size: int) -> OpenVinoUnit:
        model = self._core.read_model(str(path))
        shapes = {}
        for value in model.inputs:
            shape = value.get_partial_shape()
            shapes[value.get_any_name()] = [batch_size if side.is_dynamic else side.get_length() for side in shape]
        model.reshape(shapes)
        return OpenVinoUnit(self._core, model, unit_options("f32", threads))

    def _value(self, x: Arrays) -> Any:
        return self._library.Tensor(x, shared_memory=True)

    def _array(self, value: Any) -> Arrays:
        found: Arrays = np.asarray(value.data)
        return found


DEPLOYED: dict[Format, type[DeployedRuntime]] = {"onnx": DeployedOnnx, "openvino": DeployedOpenVino}
