"""The graphs of a bundle as onnxruntime sessions: one set for a process, shared by all threads.

A segment takes a state (names to arrays) and gives the next; a head takes its first array. Weights come from the bytes
that were checked; onnxruntime copies what it needs while a session is made, rearranged for its kernels.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .bundle.manifest import GraphFacts, Manifest
from .bundle.trust import CheckedBundle
from .errors import BundleError, RunError
from .library import PROVIDER, give_memory_back, load_onnxruntime, session_options, share_arena
from .requests import zeros

Arrays = NDArray[Any]
State = dict[str, Arrays]
NO_SIDE: Mapping[str, Arrays] = MappingProxyType({})

_TYPES = {"float32": "tensor(float)", "float16": "tensor(float16)"}
# A bundle whose graphs take longer over a single input of zeros is not one to wait for.
_CHECK_SECONDS = 60.0


class Stop(Protocol):
    """How to end what runs: onnxruntime's `RunOptions`."""

    terminate: bool


class Stopped(Exception):
    """What ran was ended by its `Stop`; no fault, it was asked for."""


class Units(Protocol):
    """What a session runs: segments and heads by number. The graphs of a bundle, a model on a GPU, or a test's.

    What a state is, is theirs alone.
    """

    def begin(self, x: Arrays, side: Mapping[str, Arrays] = NO_SIDE) -> Any:
        """The state before the first segment, of inputs [batch, channels, height, width] and side inputs by name."""

    def segment(self, position: int, state: Any, stop: Any) -> Any:
        """The state behind a segment."""

    def head(self, position: int, state: Any, stop: Any) -> Arrays:
        """The outputs [batch, num_outputs] of an exit, of the state behind its segment; the final exit is the last."""

    def take(self, position: int, state: Any, rows: Arrays) -> Any:
        """The state behind a segment of some inputs of a batch alone."""

    def new_stop(self) -> Any:
        """A means to end one request's work."""


@dataclass(frozen=True)
class _Graph:
    """A session with the names of what goes in and out."""

    facts: GraphFacts
    session: Any
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    in_batches: dict[str, bool]


class Graphs:
    """All graphs of a bundle, loaded.

    Args:
        bundle: checked.
        threads: that one run may use.

    Raises:
        BundleError: a graph cannot be loaded, or is not what the manifest says.
        MissingError: onnxruntime is not there.
    """

    def __init__(self, bundle: CheckedBundle, *, threads: int) -> None:
        self._library = load_onnxruntime()
        share_arena(self._library)
        manifest = bundle.manifest
        self._manifest = manifest
        self._exits = len(manifest.heads)
        self._dtype = np.dtype(manifest.dtype)
        self._segments = [_load(self._library, bundle, facts, threads=threads) for facts in manifest.segments]
        self._heads = [_load(self._library, bundle, facts, threads=threads) for facts in manifest.heads]
        self._side = tuple(manifest.side_inputs)
        _check_input(bundle.path, self._segments[0], manifest)
        for head in self._heads:
            _check_side_inputs(bundle.path, head, manifest)
        self._check_answers(bundle.path)
        give_memory_back()

    def begin(self, x: Arrays, side: Mapping[str, Arrays] = NO_SIDE) -> State:  # noqa: D102
        given = {self._manifest.input_name: x, **side}
        return {name: np.ascontiguousarray(array, dtype=self._dtype) for name, array in given.items()}

    def segment(self, position: int, state: State, stop: Any) -> State:  # noqa: D102
        graph = self._segments[position]
        beside = {name: state[name] for name in self._side}
        return beside | dict(zip(graph.gives, self._run(graph, state, stop), strict=True))

    def head(self, position: int, state: State, stop: Any) -> Arrays:  # noqa: D102
        if position == self._exits:
            outputs = state[self._segments[-1].gives[0]]
        else:
            (outputs,) = self._run(self._heads[position], state, stop)
        file = (self._segments[-1] if position == self._exits else self._heads[position]).facts.file
        if outputs.ndim != 2 or outputs.shape[1] != self._manifest.num_outputs:
            raise RunError(
                f"{file} must give [batch, {self._manifest.num_outputs}], found {list(outputs.shape)}; write the "
                "bundle again with exitsearch export"
            )
        if not np.isfinite(outputs).all():
            raise RunError(
                f"{file} gave outputs that are not finite numbers; give inputs in the range that the model was trained "
                "on, or export with --precision fp32"
            )
        return outputs

    def take(self, position: int, state: State, rows: Arrays) -> State:  # noqa: D102
        grows = self._segments[position].in_batches
        return {name: array[rows] if grows.get(name, True) else array for name, array in state.items()}

    def new_stop(self) -> Stop:  # noqa: D102
        return self._library.RunOptions()  # type: ignore[no-any-return]

    def _run(self, graph: _Graph, state: State, stop: Any) -> list[Arrays]:
        try:
            return list(graph.session.run(graph.gives, {name: state[name] for name in graph.takes}, stop))
        except Exception as error:  # onnxruntime's errors have no common base of their own
            if stop is not None and stop.terminate:
                raise Stopped from None
            raise RunError(f"{graph.facts.file} failed over this input ({_first_line(error)})") from None

    def _check_answers(self, path: Path) -> None:
        """Every exit answers zeros as the manifest says; it warms the sessions up, too."""
        stop = self.new_stop()
        timer = threading.Timer(_CHECK_SECONDS, lambda: setattr(stop, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            state = self.begin(*zeros(self._manifest))
            for position in range(self._exits + 1):
                state = self.segment(position, state, stop)
                outputs = self.head(position, state, stop)
                if len(outputs) != 1:
                    raise RunError(f"an exit must give one row of outputs for one input, found {len(outputs)}")
        except Stopped:
            raise BundleError(path, f"its graphs must answer one input within {_CHECK_SECONDS:g} s") from None
        except RunError as error:
            raise BundleError(path, f"its graphs do not answer an input of zeros: {error}") from None
        finally:
            timer.cancel()


def _load(library: ModuleType, bundle: CheckedBundle, facts: GraphFacts, *, threads: int) -> _Graph:
    path = bundle.path / facts.file
    options = session_options(library, threads=threads)
    outside = sorted({place.location for place in bundle.external[facts.file]})
    if outside:
        contents = [bundle.files[name] for name in outside]
        options.add_external_initializers_from_files_in_memory(outside, contents, [len(c) for c in contents])
    try:
        session = library.InferenceSession(
            bytes(bundle.files[facts.file]), options, providers=[PROVIDER], enable_fallback=0
        )
        session.disable_fallback()
    except Exception as error:  # of any kind: UnicodeDecodeError has been seen, too
        raise BundleError(
            path, f"cannot be loaded by onnxruntime {library.__version__} ({_first_line(error)})"
        ) from None
    takes = tuple(value.name for value in session.get_inputs())
    results = session.get_outputs()
    gives = tuple(value.name for value in results)
    # A graph may leave an input unread, and exporters then drop it.
    if not set(takes) <= set(facts.inputs) or (facts.outputs and gives != facts.outputs) or not gives:
        raise BundleError(
            path,
            f"must take {', '.join(facts.inputs)} and give {', '.join(facts.outputs) or 'one answer'}, found "
            f"{', '.join(takes)[:200]} and {', '.join(gives)[:200]}",
        )
    if not facts.outputs:
        gives = gives[:1]
    return _Graph(facts, session, takes, gives, {value.name: _grows(value.shape) for value in results})


def _grows(shape: Any) -> bool:
    """Whether the first axis is the batch: then it has a name in place of a number."""
    return bool(shape) and not isinstance(shape[0], int)


def _check_input(path: Path, first: _Graph, manifest: Manifest) -> None:
    """The first segment takes batches of the manifest's input."""
    (found,) = first.session.get_inputs() or (None,)
    where = path / first.facts.file
    if found is None or found.type != _TYPES[manifest.dtype]:
        raise BundleError(where, f"must take {manifest.dtype}, found {'nothing' if found is None else found.type}")
    sides = tuple(side if isinstance(side, int) else None for side in found.shape)
    if len(sides) != 4 or sides[0] is not None:
        raise BundleError(where, f"must take a batch of any size and three axes, found {list(found.shape)}")
    if any(mine not in (None, side) for mine, side in zip(sides[1:], manifest.input_size, strict=True)):
        raise BundleError(
            where, f"must take {list(manifest.input_size)}, as the manifest says, found {list(sides[1:])}"
        )


def _check_side_inputs(path: Path, head: _Graph, manifest: Manifest) -> None:
    """A head takes batches of the manifest's side inputs."""
    for value in head.session.get_inputs():
        if (size := manifest.side_inputs.get(value.name)) is None:
            continue
        sides = tuple(side if isinstance(side, int) else None for side in value.shape)
        fixed = len(sides) != 4 or sides[0] is not None
        if (
            value.type != _TYPES[manifest.dtype]
            or fixed
            or any(mine not in (None, side) for mine, side in zip(sides[1:], size, strict=True))
        ):
            raise BundleError(
                path / head.facts.file,
                f"must take {value.name} as {manifest.dtype} ['batch', {', '.join(map(str, size))}], as the manifest "
                f"says, found {value.type} {list(value.shape)}",
            )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
