"""The onnxruntime runtime: one ONNX Runtime session for every segment, every head, the final part and the whole.

States travel between sessions as ONNX Runtime's own values: on the CPU nothing is copied, on CUDA they stay on the
device. Everything runs on torch's current CUDA stream without waiting, so that the protocol's events see it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from exitsearch.errors import InputError, UnavailableError
from exitsearch.measure.runtimes.base import Runtime, UnitKey, decide_on_host, make_apart
from exitsearch.measure.runtimes.onnx_export import export_unit
from exitsearch.models.backbone import Backbone

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

# Threads of ONNX Runtime's shared pool, which can be made once in a process; None until then.
_pool_threads: int | None = None


class OnnxRuntime(Runtime):
    """ONNX Runtime, with its CPU or CUDA provider."""

    name = "onnxruntime"
    summary = "ONNX Runtime with its CPU or CUDA provider, one session for every segment and head"

    @classmethod
    def check(cls, device: torch.device, dtype: str) -> None:  # noqa: D102
        library = _library()
        provider = _PROVIDERS[device.type]
        if provider not in library.get_available_providers():
            raise UnavailableError(
                f"--runtime onnxruntime --device {device}: the installed onnxruntime {library.__version__} has no "
                f"{provider}; install onnxruntime-gpu in its place, or use --device cpu"
            )
        if dtype == "bf16" and device.type == "cpu":
            raise InputError(
                "--runtime onnxruntime has no bf16 kernels on the CPU, found --dtype bf16; use --dtype fp32, or "
                "--runtime eager"
            )

    def __init__(self, backbone: Backbone, heads: Mapping[UnitKey, nn.Module], *, example: Tensor) -> None:
        library = _library()
        begin = time.perf_counter()
        self._task = backbone.facts.task
        self._device = example.device
        self._inputs: dict[int, tuple[Tensor, Any]] = {}
        options = _session_options(library, torch.get_num_threads())

        def made(module: nn.Module, argument: Any) -> tuple[_Session, Any]:
            return _Session(library, export_unit(module, argument), options, example.device), module(argument)

        with torch.inference_mode():
            units = make_apart(backbone, heads, made, example=example)
        self.segments = units.segments
        self.heads = {key: unit.first for key, unit in units.heads.items()}
        self.final = units.final.first
        self.whole = lambda x: units.whole.first(self.begin(x))
        self.identity = {"onnxruntime": library.__version__, "provider": _PROVIDERS[example.device.type]}
        self.preparation = {"export_and_load_seconds": round(time.perf_counter() - begin, 3)}

    def begin(self, x: Tensor) -> tuple[Any, ...]:
        """The input as ONNX Runtime's value. Each is made once: on the CPU it is the tensor's own memory."""
        if id(x) not in self._inputs:
            array = x.detach().cpu().numpy()
            library = _library()
            value = library.OrtValue.ortvalue_from_numpy(array, self._device.type, self._device.index or 0)
            # The tensor is kept: the value may share its memory, and its id must stay its own.
            self._inputs[id(x)] = (x, value)
        return (self._inputs[id(x)][1],)

    def features(self, state: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: D102
        return state[:1]

    def decide(self, outputs: Any) -> object:
        """Answer and confidence of every input on the host; for regression the values themselves."""
        return decide_on_host(outputs.numpy(), self._task)


class _Session:
    """One unit: from ONNX Runtime's values to such values, on one device."""

    def __init__(self, library: ModuleType, path: Path, options: Any, device: torch.device) -> None:
        provider: Any = _PROVIDERS[device.type]
        self._device = device
        if device.type == "cuda":
            stream = str(torch.cuda.current_stream(device).cuda_stream)
            provider = (provider, {"device_id": str(device.index or 0), "user_compute_stream": stream})
        try:
            self._session = library.InferenceSession(str(path), options, providers=[provider])
        except Exception as error:  # onnxruntime's errors have no common base of their own
            cause = str(error).strip().splitlines()[0]
            raise UnavailableError(
                f"--runtime onnxruntime cannot load a unit ({cause}); try --dtype fp32, or --runtime eager"
            ) from error
        self._takes = [value.name for value in self._session.get_inputs()]
        self._gives = [value.name for value in self._session.get_outputs()]
        self._run_options = library.RunOptions()
        if device.type == "cuda":
            self._run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def __call__(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if self._device.type == "cpu":
            feeds = dict(zip(self._takes, values, strict=True))
            return tuple(self._session.run_with_ort_values(self._gives, feeds, self._run_options))
        binding = self._session.io_binding()
        for name, value in zip(self._takes, values, strict=True):
            binding.bind_ortvalue_input(name, value)
        for name in self._gives:
            binding.bind_output(name, self._device.type, self._device.index or 0)
        self._session.run_with_iobinding(binding, self._run_options)
        return tuple(binding.get_outputs())

    def first(self, values: tuple[Any, ...]) -> Any:
        """The first output alone."""
        return self(values)[0]


def _session_options(library: ModuleType, threads: int) -> Any:
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


def _library() -> ModuleType:
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
