"""The fingerprint of a machine and of the conditions of a measurement.

Three groups. *identity*: a difference makes times incomparable. *soft*: a difference is worth a warning. *state*: how
the machine was at the time; it feeds the verdict.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

import timm
import torch
from timm.layers.config import use_fused_attn
from torch import nn

from exitsearch.errors import InputError, UnavailableError
from exitsearch.measure.machine.load import load_average, usable_cores
from exitsearch.measure.machine.nvml import GpuReading, read_gpu
from exitsearch.measure.machine.processor import cpu_name
from exitsearch.specs.profile import Environment, Scalar
from exitsearch.specs.side import Size, side_text

# What times and searches depend on, for `exitsearch env`.
_PACKAGES = ("torch", "timm", "fvcore", "optuna", "numpy", "nvidia-ml-py", "onnxruntime", "openvino")

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(name: str | torch.device) -> torch.device:
    """The device of a name, once it is known to be there.

    Args:
        name: `cpu`, `cuda` or `cuda:N`.

    Raises:
        InputError: another kind of device.
        UnavailableError: no such CUDA device here.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"--device {name}: a device is written cpu, cuda or cuda:N; write one of these")
    if device.type == "cpu":
        return device
    if not torch.cuda.is_available():
        raise UnavailableError(f"--device {name}: no CUDA device is visible here ({_why_no_cuda()}); use --device cpu")
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise UnavailableError(
            f"--device {name}: this machine has {count} CUDA device{'s' if count > 1 else ''}, numbered from 0; use "
            f"--device cuda:{count - 1}"
        )
    return torch.device("cuda", device.index if device.index is not None else torch.cuda.current_device())


def _why_no_cuda() -> str:
    if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
        return f"torch {torch.__version__} is built without CUDA"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides all of them"
    return "torch finds no NVIDIA driver or GPU"


def resolve_dtype(name: str) -> torch.dtype:
    """The torch dtype of `fp32`, `bf16` or `fp16`.

    Raises:
        InputError: another name.
    """
    if name not in DTYPES:
        raise InputError(f"--dtype must be one of {', '.join(DTYPES)}; found {name!r}; name one of them")
    return DTYPES[name]


def device_name(device: torch.device) -> str:
    """The device's own name: the GPU's, or the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def is_channels_last(module: nn.Module) -> bool:
    """Whether any convolution's weights lie in memory with their channels last; its kernels are others then."""
    return any(
        weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
        for weight in module.parameters()
    )


def fingerprint(
    device: torch.device,
    *,
    dtype: str,
    batch_size: int,
    input_size: tuple[int, int, int],
    threads: int,
    runtime: str,
    channels_last: bool = False,
    keeps_memory: bool = False,
    side_inputs: Mapping[str, Size] = MappingProxyType({}),
    gpu: GpuReading | None = None,
    pause_ms: float = 0.0,
) -> Environment:
    """Identity, soft facts and state of a measurement on this machine.

    Args:
        device: where the units run.
        dtype: `fp32`, `bf16` or `fp16`.
        batch_size: inputs of one batch.
        input_size: (channels, height, width).
        threads: threads that torch computes with on the CPU.
        runtime: name of the runtime.
        channels_last: whether the weights lie so in memory (see `is_channels_last`).
        keeps_memory: whether freed memory stays in the process (`allocator.py`).
        side_inputs: (channels, height, width) of each, by name.
        gpu: a reading of the GPU; None takes one if the device is a GPU.
        pause_ms: for which the device rested before every pass; named only where it did.
    """
    identity: dict[str, Scalar] = {
        "device": device.type,
        "device_name": device_name(device),
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "threads": threads,
        "dtype": dtype,
        "batch_size": batch_size,
        "input_size": "x".join(map(str, input_size)),
        **({"side_inputs": side_text(side_inputs)} if side_inputs else {}),
        "runtime": runtime,
        **({"pause_ms": pause_ms} if pause_ms else {}),
        "torch": ".".join(torch.__version__.split(".")[:2]),
        "timm": timm.__version__,
        "fused_attention": bool(use_fused_attn()),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "channels_last": channels_last,
        "autocast": torch.is_autocast_enabled(device.type),
    }
    soft: dict[str, Scalar] = {
        "torch_version": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu_governor": _cpu_governor(),
        "keeps_freed_memory": keeps_memory,
        "exitsearch": _own_version(),
    }
    state: dict[str, Scalar] = {"load_average": load_average()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        identity["compute_capability"] = f"{properties.major}.{properties.minor}"
        identity["cuda"] = torch.version.cuda
        # TF32 switches of convolutions, which the matmul precision does not cover.
        identity["cudnn_tf32"] = torch.backends.cudnn.allow_tf32
        identity["cudnn_benchmark"] = torch.backends.cudnn.benchmark
        gpu = read_gpu(device) if gpu is None else gpu
        soft["cudnn"] = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        soft |= gpu.soft
        state |= gpu.state
        state |= {f"not_read_{name}": reason for name, reason in gpu.missing.items()}
    return Environment(identity=identity, soft=soft, state=state)


def describe_machine() -> dict[str, object]:
    """What `exitsearch env` shows: machine, devices and the versions that times depend on."""
    gpus: list[dict[str, object]] = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.device("cuda", index)
            gpu = read_gpu(device)
            gpus.append({"name": torch.cuda.get_device_name(device), **gpu.soft, **gpu.state, "not_read": gpu.missing})
    return {
        "exitsearch": _own_version(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "cpu_governor": _cpu_governor(),
        "load_average": load_average(),
        "cuda": gpus or f"none: {_why_no_cuda()}",
        "versions": {name: _version(name) for name in _PACKAGES},
        "executable": sys.executable,
    }


def _cpu_governor() -> str:
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    try:
        return path.read_text().strip()
    except OSError:
        return "not readable: the kernel shows no frequency scaling"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _own_version() -> str:
    return _version("exitsearch")
