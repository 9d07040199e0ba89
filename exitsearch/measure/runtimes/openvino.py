"""The openvino runtime: one OpenVINO compiled model for every segment, every head, the final part and the whole.

Every unit has one infer request, whose inputs and outputs keep their memory:

    input's own memory -> request 0 -> state 0 -> request 1 -> state 1 -> ... -> final
                                          |                       |
                                       heads 0                 heads 1

A request is bound to the very tensors that the one before it writes, so nothing is copied between units, and after the
first pass nothing is bound anew but the input.

Units are read from the ONNX files that the onnxruntime runtime times too. OpenVINO's own conversion from torch gives a
ViT the same time, but goes through torch.jit, which torch deprecates.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exitsearch.errors import InputError, UnavailableError
from exitsearch.measure.runtimes.exported import ExportedRuntime
from exitsearch.specs.profile import Scalar

# OpenVINO's names of torch's dtypes.
_PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


class OpenVinoRuntime(ExportedRuntime):
    """OpenVINO on the CPU."""

    name = "openvino"
    summary = "OpenVINO on the CPU, one compiled model for every segment and head"

    @classmethod
    def check(cls, device: torch.device, dtype: str) -> None:  # noqa: D102
        if device.type != "cpu":
            raise InputError(
                f"--runtime openvino runs on the CPU, found --device {device}; use --device cpu, or --runtime cudagraph"
            )
        # What a processor does not offer, OpenVINO silently computes in another precision (fp16 in bf16, for one).
        offered = openvino_library().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if dtype.upper() not in offered:
            raise InputError(
                f"--runtime openvino does not compute in {dtype} on this processor, found --dtype {dtype}; use --dtype "
                "fp32, or --runtime eager"
            )

    def loader(self, dtype: torch.dtype) -> tuple[Callable[[Path], OpenVinoUnit], dict[str, Scalar]]:  # noqa: D102
        library = openvino_library()
        core = library.Core()
        options = unit_options(_PRECISIONS[dtype], torch.get_num_threads())
        facts = {
            "openvino": library.__version__.split("-")[0],
            "inference_precision": options["INFERENCE_PRECISION_HINT"],
            "performance_hint": options["PERFORMANCE_HINT"],
            "cpu_pinning": options["ENABLE_CPU_PINNING"],
        }
        return lambda path: OpenVinoUnit(core, path, options), facts

    def shared(self, x: Tensor) -> Any:  # noqa: D102
        return _shared(openvino_library(), x)

    def numbers(self, outputs: Any) -> NDArray[Any]:  # noqa: D102
        return _numbers(outputs)


class OpenVinoUnit:
    """One unit: from OpenVINO's tensors to such tensors, always the same ones.

    Args:
        core: of OpenVINO.
        source: an ONNX file, or a model that was read already; its shapes are fixed.
        options: of the compilation (`unit_options`).

    Raises:
        UnavailableError: it cannot be loaded.
        InputError: OpenVINO gives another number of threads.
    """

    def __init__(self, core: Any, source: Path | str | Any, options: Mapping[str, Any]) -> None:
        try:
            compiled = core.compile_model(str(source) if isinstance(source, Path) else source, "CPU", dict(options))
        except RuntimeError as error:
            # OpenVINO says first where it failed, line by line, and last why.
            cause = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise UnavailableError(
                f"--runtime openvino cannot load a unit ({cause}); try --dtype fp32, or --runtime eager"
            ) from error
        threads, asked = compiled.get_property("INFERENCE_NUM_THREADS"), options["INFERENCE_NUM_THREADS"]
        if threads != asked:
            raise InputError(
                f"--runtime openvino gives {threads} threads where {asked} are asked for; use --threads {threads}"
            )
        self._request = compiled.create_infer_request()
        self._bound: list[Any] = [None] * len(compiled.inputs)
        self._outputs = tuple(self._request.get_output_tensor(index) for index in range(len(compiled.outputs)))

    def __call__(self, tensors: tuple[Any, ...]) -> tuple[Any, ...]:
        """Run it over tensors in the order of its inputs."""
        assert len(tensors) == len(self._bound)
        for index, tensor in enumerate(tensors):
            if tensor is not self._bound[index]:
                self._request.set_input_tensor(index, tensor)
                self._bound[index] = tensor
        self._request.infer(share_outputs=True)
        return self._outputs

    def first(self, tensors: tuple[Any, ...]) -> Any:
        """The first output alone."""
        return self(tensors)[0]


def unit_options(precision: str, threads: int) -> dict[str, Any]:
    """Options of every compiled model.

    Args:
        precision: OpenVINO's name of the dtype. It has to be said: on processors with bf16, OpenVINO computes fp32
            models in bf16 unless told otherwise.
        threads: threads of one inference, from 1.
    """
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        # Threads bound to cores cannot leave one that another program takes, and each call would bind the calling
        # thread and free it again (1.3 us here). The other runtimes bind none either.
        "ENABLE_CPU_PINNING": False,
    }


def _shared(library: Any, x: Tensor) -> Any:
    """A tensor of OpenVINO's over the memory of one of torch's."""
    if x.dtype != torch.bfloat16:
        return library.Tensor(x.numpy(), shared_memory=True)
    # numpy has no bf16; the bits travel as integers of the same size.
    return library.Tensor(x.view(torch.int16).numpy(), library.Shape(list(x.shape)), library.Type.bf16)


def _numbers(tensor: Any) -> NDArray[np.float32]:
    """The numbers of a tensor of OpenVINO's, in float32."""
    data: NDArray[Any] = tensor.data
    if tensor.element_type.get_type_name() != "bf16":
        return data.astype(np.float32, copy=False)
    # numpy has no bf16; such a number is the upper half of a float32.
    return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def openvino_library() -> Any:
    """The module openvino, once it and what the export needs are there."""
    try:
        for name in ("onnx", "onnxscript"):
            importlib.import_module(name)
        return _import_quietly()
    except ImportError as error:
        raise UnavailableError(
            f"--runtime openvino needs packages that are not installed here ({error}); install them with pip install "
            "'exitsearch[openvino]'"
        ) from None


def _import_quietly() -> Any:
    """Import OpenVINO without its telemetry.

    Its import alone reports itself over the network, from a thread of its own, and writes an identity into the home
    folder, unless the package openvino_telemetry is missing; so that package is hidden meanwhile. One that another
    program has loaded before is its own business.
    """
    telemetry = "openvino_telemetry"
    if telemetry in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[telemetry] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[telemetry]
