"""The onnxruntime runtime: one ONNX Runtime session for every segment, every head, the final part and the whole.

States travel between sessions as ONNX Runtime's own values, which are never copied.

It is for the CPU alone. On CUDA a session takes torch's default stream (number 0) for "none given" and makes one of its
own: sessions are then not ordered after one another, the protocol's events see nothing of their work, and a provider
that cannot be loaded is replaced by the CPU's without an error. Until all that is shown to be right on a GPU, no number
is better than a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from exitsearch.errors import InputError, UnavailableError
from exitsearch.measure.runtimes.exported import ExportedRuntime
from exitsearch.specs.profile import Scalar

PROVIDER = "CPUExecutionProvider"

# Threads of ONNX Runtime's shared pool, which can be made once in a process; None until then.
_pool_threads: int | None = None


class OnnxRuntime(ExportedRuntime):
    """ONNX Runtime with its CPU provider."""

    name = "onnxruntime"
    summary = "ONNX Runtime on the CPU, one session for every segment and head"

    @classmethod
    def check(cls, device: torch.device, dtype: str) -> None:  # noqa: D102
        if device.type != "cpu":
            raise InputError(
                f"--runtime onnxruntime runs on the CPU, found --device {device}; use --device cpu, or --runtime "
                "cudagraph or compile"
            )
        library = onnx_library()
        if PROVIDER not in library.get_available_providers():
            raise UnavailableError(
                f"--runtime onnxruntime: the installed onnxruntime {library.__version__} has no {PROVIDER}; install "
                "the package onnxruntime, or use --runtime eager"
            )
        if dtype == "bf16":
            raise InputError(
                "--runtime onnxruntime has no bf16 kernels on the CPU, found --dtype bf16; use --dtype fp32, or "
                "--runtime eager"
            )

    def loader(self, dtype: torch.dtype) -> tuple[Callable[[Path], OnnxSession], dict[str, Scalar]]:  # noqa: D102
        library = onnx_library()
        options = session_options(library, torch.get_num_threads())
        facts: dict[str, Scalar] = {"onnxruntime": library.__version__, "provider": PROVIDER}
        return lambda path: OnnxSession(library, path, options), facts

    def shared(self, x: Tensor) -> Any:  # noqa: D102
        return onnx_library().OrtValue.ortvalue_from_numpy(x.numpy())

    def numbers(self, outputs: Any) -> NDArray[Any]:  # noqa: D102
        found: NDArray[Any] = outputs.numpy()
        return found


class OnnxSession:
    """One unit: from ONNX Runtime's values to such values, in the order of the graph's inputs and outputs.

    Args:
        library: `onnx_library()`.
        path: of the ONNX file.
        options: of the session.
        fault: what it is called when it cannot be loaded.
        remedy: what to do then.

    Raises:
        UnavailableError: it cannot be loaded, or not by the CPU's provider.
    """

    def __init__(
        self,
        library: ModuleType,
        path: Path,
        options: Any,
        *,
        fault: str = "--runtime onnxruntime cannot load a unit",
        remedy: str = "try --dtype fp32, or --runtime eager",
    ) -> None:
        try:
            self._session = library.InferenceSession(str(path), options, providers=[PROVIDER])
        except Exception as error:  # onnxruntime's errors have no common base of their own
            cause = str(error).strip().splitlines()[0]
            raise UnavailableError(f"{fault} ({cause}); {remedy}") from error
        # Where a provider fails to load or to run, a session takes others in its place and goes on.
        self._session.disable_fallback()
        if self._session.get_providers() != [PROVIDER]:
            raise UnavailableError(
                f"--runtime onnxruntime: asked for {PROVIDER}, a session took "
                f"{', '.join(self._session.get_providers()) or 'none'}; use --runtime eager"
            )
        self._takes = [value.name for value in self._session.get_inputs()]
        self._gives = [value.name for value in self._session.get_outputs()]
        self._run_options = library.RunOptions()

    def __call__(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Run it over values in the order of its inputs."""
        feeds = dict(zip(self._takes, values, strict=True))
        return tuple(self._session.run_with_ort_values(self._gives, feeds, self._run_options))

    def first(self, values: tuple[Any, ...]) -> Any:
        """The first output alone."""
        return self(values)[0]


def session_options(library: ModuleType, threads: int) -> Any:
    """Options of every session: all optimisations, one operator at a time, pinned threads.

    Sessions with threads of their own would leave hundreds of them spinning on a few cores, each for a while after its
    unit is done, so with more than one thread all sessions share one pool.
    """
    global _pool_threads
    options = library.SessionOptions()
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = library.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    if threads > 1:
        if _pool_threads not in (None, threads):
            raise InputError(
                f"onnxruntime's shared threads are made once in a process: {_pool_threads} of them, found --threads "
                f"{threads}; measure with another number in a process of its own"
            )
        if _pool_threads is None:
            library.set_global_thread_pool_sizes(threads, 1)
            _pool_threads = threads
        options.use_per_session_threads = False
    return options


def onnx_library() -> ModuleType:
    """onnxruntime, once it and what the export needs are there."""
    try:
        import onnx
        import onnxruntime
        import onnxscript
    except ImportError as error:
        raise UnavailableError(
            f"--runtime onnxruntime needs packages that are not installed here ({error}); install them with pip "
            "install 'exitsearch[onnx]'"
        ) from None
    assert onnx
    assert onnxscript
    return onnxruntime  # type: ignore[no-any-return]
