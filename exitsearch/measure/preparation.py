"""What stands ready before a measurement: threads, batches, and a runtime with its units on the device."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Self

import torch
from torch import nn

from exitsearch.allocator import keep_freed_memory
from exitsearch.errors import InputError
from exitsearch.measure.machine.fingerprint import resolve_device, resolve_dtype
from exitsearch.measure.pause import check_pause
from exitsearch.measure.runtimes import Runtime, UnitKey, find_runtime
from exitsearch.measure.timing.clock import Clock, clock_for
from exitsearch.models.backbone import Backbone
from exitsearch.models.heads import create_head

# Different batches in turn, so that no run depends on one draw of the inputs.
_INPUT_COUNT = 4
_LARGEST_BATCH = 2**20


def check_batch_size(batch_size: int) -> None:
    """Refuse a batch without inputs, or one that no device holds."""
    if not 1 <= batch_size <= _LARGEST_BATCH:
        raise InputError(f"--batch-size must be from 1 to {_LARGEST_BATCH}, found {batch_size}; give one in that range")


def check_precision(precision: float, *, max_seconds: float) -> None:
    """Refuse a precision that is no share, or a time that is none."""
    if not 0 < precision < 1:
        raise InputError(
            f"--precision must be above 0 and below 1 (0.02 or 2%), found {precision}; give one such as 2%"
        )
    if not 0 < max_seconds < 1e6:
        raise InputError(f"--max-seconds must be above 0, found {max_seconds}; give a number of seconds")


@dataclass(frozen=True)
class Condition:
    """How units are executed.

    Attributes:
        device: where they run.
        dtype: `fp32`, `bf16` or `fp16`.
        threads: threads that torch computes with on the CPU; None keeps torch's number.
        runtime: what executes them.
        seed: of inputs and of the heads' weights.
        pause_ms: for which the device rests before every pass.
    """

    device: torch.device
    dtype: str
    threads: int | None
    runtime: type[Runtime]
    seed: int
    pause_ms: float = 0.0

    @classmethod
    def resolve(
        cls,
        device: str | torch.device,
        *,
        dtype: str,
        threads: int | None,
        runtime: str,
        seed: int,
        pause_ms: float = 0.0,
    ) -> Self:
        """Check what is there and what goes together.

        Raises:
            InputError: an unknown name, or an option out of range.
            UnavailableError: the device or a package is missing.
        """
        resolve_dtype(dtype)
        made = find_runtime(runtime)
        if threads is not None and not 1 <= threads <= 4096:
            raise InputError(f"--threads must be from 1 to 4096, found {threads}; give another number")
        check_pause(pause_ms)
        where = resolve_device(device)
        made.check(where, dtype)
        return cls(where, dtype, threads, made, seed, pause_ms)

    def clock(self) -> Clock:
        """A clock that fits the device, and rests before every pass."""
        return clock_for(self.device, rest_s=self.pause_ms / 1e3)


@dataclass(frozen=True)
class Ready:
    """Everything that a measurement runs.

    Attributes:
        runtime: the units.
        inputs: random batches on the device.
        threads: threads that torch computes with on the CPU.
        keeps_memory: whether freed memory stays in the process (`allocator.py`).
    """

    runtime: Runtime
    inputs: list[torch.Tensor]
    threads: int
    keeps_memory: bool


@contextmanager
def made_ready(
    backbone: Backbone, keys: Sequence[UnitKey], condition: Condition, *, batch_size: int
) -> Iterator[Ready]:
    """Backbone and heads on the device and in the dtype, a copy where either must change.

    Inside, the device is the current one and torch has its threads. From now on the process keeps its freed memory.

    Args:
        backbone: with weights; left as it is.
        keys: which exit heads, where.
        condition: how they are executed.
        batch_size: inputs of one batch.

    Raises:
        InputError: the backbone has no weights.
    """
    keeps_memory = keep_freed_memory()
    wanted = resolve_dtype(condition.dtype)
    now = next(backbone.module.parameters())
    if now.device.type == "meta":
        raise InputError("a backbone on the meta device has no weights to run; create it on the CPU, or only count")
    if now.device != condition.device or now.dtype != wanted:
        # One deep copy keeps the segments' modules and the model's the same ones.
        backbone = copy.deepcopy(backbone)
        backbone.module.to(device=condition.device, dtype=wanted)
    heads: dict[UnitKey, nn.Module] = {}
    for placement, text in keys:
        head = create_head(
            text,
            placement=backbone.placements[placement],
            num_outputs=backbone.num_outputs,
            seed=condition.seed,
            device=condition.device,
        )
        heads[placement, text] = head.eval().to(wanted)
    inputs, side = _random_batches(backbone, condition, batch_size)
    training = [module for module in backbone.module.modules() if module.training]
    backbone.module.eval()
    try:
        with current_device(condition.device), _pinned_threads(condition.threads) as threads:
            runtime = condition.runtime(backbone, heads, example=inputs[0], side=side)
            yield Ready(runtime, inputs, threads, keeps_memory)
    finally:
        for module in training:
            module.training = True


def current_device(device: torch.device) -> AbstractContextManager[object]:
    """Make a CUDA device the current one inside: streams, events and graphs are made on it. The CPU needs nothing."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@contextmanager
def _pinned_threads(threads: int | None) -> Iterator[int]:
    """Set torch's threads for a measurement; yields their number."""
    own = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(own)


def _random_batches(
    backbone: Backbone, condition: Condition, batch_size: int
) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """Random normal batches, and one of each side input; zeros and denormal numbers would mislead."""
    generator = torch.Generator().manual_seed(condition.seed)
    dtype = resolve_dtype(condition.dtype)

    def drawn(size: tuple[int, int, int]) -> torch.Tensor:
        return torch.randn((batch_size, *size), generator=generator).to(device=condition.device, dtype=dtype)

    inputs = [drawn(backbone.input_size) for _ in range(_INPUT_COUNT)]
    return inputs, {name: drawn(size) for name, size in backbone.side_inputs.items()}
