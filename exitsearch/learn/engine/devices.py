"""The Accelerator of a training: device, precision and processes, as Hugging Face Accelerate keeps them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedDataParallelKwargs
from torch import distributed

from exitsearch.errors import InputError

MixedPrecision = Literal["no", "bf16", "fp16"]
MIXED_PRECISION = ("no", "bf16", "fp16")


@contextlib.contextmanager
def accelerated(device: torch.device, *, mixed_precision: MixedPrecision) -> Iterator[Accelerator]:
    """An Accelerator, inside; started by torchrun or `accelerate launch`, the processes find each other.

    Accelerate keeps its state for the whole process. Where a program of one's own has an Accelerator already, that
    state is used and left; otherwise nothing of it is left behind.

    Args:
        device: `cpu`, or a GPU; of several processes each takes a GPU of its own.
        mixed_precision: of forward and backward passes; weights stay in float32.

    Raises:
        InputError: a precision that the device does not have, or that the program's own Accelerator was not made with.
    """
    if mixed_precision not in MIXED_PRECISION:
        raise InputError(
            f"mixed precision is one of {', '.join(MIXED_PRECISION)}, found {mixed_precision!r}; name one of them"
        )
    if mixed_precision == "fp16" and device.type == "cpu":
        raise InputError("mixed precision fp16 needs a GPU; take bf16 on the CPU, or none")
    mine, mine_to_end = not PartialState._shared_state, not distributed.is_initialized()
    # A step may use some heads only, as the losses that take turns do.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    here = torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
    with here:
        try:
            try:
                accelerator = Accelerator(
                    cpu=device.type == "cpu", mixed_precision=mixed_precision, kwargs_handlers=[unused]
                )
            except ValueError as error:
                raise InputError(
                    f"Accelerate refuses this training: {str(error).splitlines()[0]}; "
                    "leave --mixed-precision out, or start another number of processes"
                ) from None
            yield accelerator
        finally:
            if mine:
                AcceleratorState._reset_state(reset_partial_state=True)
                if mine_to_end and distributed.is_initialized():
                    distributed.destroy_process_group()
