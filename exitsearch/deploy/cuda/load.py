"""From a trained multi-exit model to a session on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from exitsearch.deploy.cuda.device import CudaDevice, Device, HostDevice
from exitsearch.deploy.cuda.latency import measure_chains
from exitsearch.deploy.cuda.session import CudaSession
from exitsearch.deploy.cuda.units import CudaUnits
from exitsearch.deploy.preprocessing import preprocessing_of
from exitsearch.deploy.units import INPUT, divide, side_inputs_of
from exitsearch.deploy.values import exit_values
from exitsearch.errors import InputError, UnavailableError, one_of
from exitsearch.models.multi_exit import MultiExitModel, load_model
from exitsearch.runtime.bundle.manifest import Confidence, Latency, Manifest, Point, Preprocessing
from exitsearch.specs.config import MultiExitConfig

Progress = Callable[[float, str], None]

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
MAX_SECONDS = 5.0
_LARGEST_BATCH = 65536


def load_cuda_session(
    folder: Path | str,
    *,
    device: torch.device | str = "cuda",
    dtype: str = "fp32",
    batch_sizes: Sequence[int] = (1,),
    classes: Sequence[str] | None = None,
    quantile: float = 0.99,
    max_seconds: float = MAX_SECONDS,
    progress: Progress = lambda share, words: None,
) -> CudaSession:
    """Load a trained multi-exit model as a session on a GPU.

    Its graphs are recorded and timed in place, which is why this takes `max_seconds` for each batch size: times of
    another GPU, driver or torch are no times of this one.

    Args:
        folder: what `exitsearch train` wrote.
        device: as for `cuda_session`.
        dtype: the same.
        batch_sizes: the same.
        classes: the same.
        quantile: the same.
        max_seconds: the same.
        progress: the same.

    Raises:
        FileError: a file is missing or broken.
        InputError: an option that cannot be.
        UnavailableError: the device is not here.
        ExitSearchError: a unit cannot be recorded.
    """
    model, folder = load_model(folder), Path(folder)
    values, _ = exit_values(model.config, folder)
    return cuda_session(
        model,
        values=values,
        device=device,
        dtype=dtype,
        batch_sizes=batch_sizes,
        classes=classes,
        quantile=quantile,
        max_seconds=max_seconds,
        progress=progress,
    )


def cuda_session(
    model: MultiExitModel,
    *,
    values: Sequence[float],
    device: torch.device | str | Device = "cuda",
    dtype: str = "fp32",
    batch_sizes: Sequence[int] = (1,),
    classes: Sequence[str] | None = None,
    quantile: float = 0.99,
    max_seconds: float = MAX_SECONDS,
    progress: Progress = lambda share, words: None,
    **options: Any,
) -> CudaSession:
    """A session over a model in memory, which is moved to the device.

    Args:
        model: in eval mode, in fp32.
        values: of every exit, the final one last; higher is better.
        device: `cuda`, `cuda:1`; `cpu` runs the same units as plain torch, with the same answers as the model's own.
        dtype: that the model computes in: `fp32`, `fp16` or `bf16`; inputs and answers are in single precision.
        batch_sizes: for each of which there are graphs, 1 to 65,536; a request takes the smallest that it fits into.
        classes: names in the order of the outputs; None where they are not known.
        quantile: by which deadlines are planned: 0.5, 0.9 or 0.99.
        max_seconds: for measuring the table of one batch size.
        progress: called with the share of the work that is done, 0 to 1, and words.
        options: as for `Session`.

    Raises:
        InputError: an option that cannot be.
        UnavailableError: the device is not here.
        ExitSearchError: a unit cannot be recorded.
    """
    if model.training:
        raise InputError("a session takes a model in eval mode, found one in training mode; call model.eval() first")
    if dtype not in DTYPES:
        raise one_of("dtype", dtype, DTYPES)
    sizes = sorted(set(batch_sizes))
    if not sizes or any(isinstance(size, bool) or not 1 <= size <= _LARGEST_BATCH for size in sizes):
        raise InputError(
            f"batch_sizes are whole numbers from 1 to {_LARGEST_BATCH}, found {list(batch_sizes)}; give some of those"
        )
    if len(values) != len(model.heads) + 1:
        raise InputError(
            f"values has a number for each of the {len(model.heads) + 1} exits, found {len(values)}; give one each"
        )
    if classes is not None and len(classes) != model.backbone.num_outputs:
        raise InputError(
            f"classes has a name for each of the {model.backbone.num_outputs} outputs, found {len(classes)}; "
            "give one each, or leave them out"
        )
    where = device if isinstance(device, Device) else device_of(device)
    where.place(model, DTYPES[dtype])
    units = CudaUnits(divide(model), where, batch_sizes=sizes)
    policy = model.config.policy
    heads = [str(exit_.choice) for exit_ in model.config.exits]
    timed = measure_chains(units, heads, policy=policy, max_seconds=max_seconds, progress=progress)
    manifest = manifest_of(model, latency=units.latencies[sizes[0]], values=values, precision=dtype, classes=classes)
    session = CudaSession(manifest, units=units, quantile=quantile, **options)
    session.warnings = tuple(dict.fromkeys(one.warning for one in timed if one.warning))
    return session


def device_of(name: torch.device | str) -> Device:
    """The device of a name.

    Raises:
        InputError: it is neither a GPU nor the CPU.
        UnavailableError: it is not here.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device is cuda, cuda:N or cpu, found {str(name)!r}; name one of these") from None
    if device.type == "cpu":
        return HostDevice()
    if device.type != "cuda":
        raise InputError(f"device is cuda, cuda:N or cpu, found {str(name)!r}; name one of these")
    count = torch.cuda.device_count()
    if not torch.cuda.is_available() or (device.index or 0) >= count:
        found = f"cuda:0 to cuda:{count - 1}" if count else "no CUDA device"
        raise UnavailableError(f"there is no {device} here, found {found}; use device cpu, or a machine that has one")
    return CudaDevice(torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index))


def manifest_of(
    model: MultiExitModel,
    *,
    latency: Latency,
    values: Sequence[float],
    precision: str,
    classes: Sequence[str] | None,
) -> Manifest:
    """What a bundle of this model would say of it; there are no files."""
    config, backbone = model.config, model.backbone
    images = preprocessing_of(backbone)
    preprocessing = None
    if images is not None:
        preprocessing = Preprocessing(
            mode=images.mode,
            resize=images.resize,
            interpolation=images.interpolation,
            crop_mode=images.crop_mode,
            mean=tuple(images.mean),
            std=tuple(images.std),
        )
    return Manifest(
        model=backbone.facts.name or "",
        task=backbone.facts.task,
        num_outputs=backbone.num_outputs,
        classes=None if classes is None else tuple(classes),
        input_name=INPUT,
        input_size=backbone.input_size,
        dtype="float32",
        preprocessing=preprocessing,
        format="torch",
        precision=precision,
        segments=(),
        heads=(),
        exits=(*(f"{exit_.placement}:{exit_.head}" for exit_ in config.exits), "final"),
        latency=latency,
        policy=config.policy,
        values=tuple(values),
        confidence=_confidence(config),
        budget=config.budget,
        files={},
        side_inputs=side_inputs_of(model),
    )


def _confidence(config: MultiExitConfig) -> Confidence | None:
    if (table := config.confidence) is None:
        return None
    points = tuple(Point(budget_ms=point.budget_ms, thresholds=tuple(point.thresholds)) for point in table.points)
    return Confidence(score=table.score, temperatures=tuple(table.temperatures), points=points)
