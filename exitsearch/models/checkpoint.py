"""Weights of a backbone from a file, and what names them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from exitsearch.errors import InputError
from exitsearch.specs.document import check_readable


def load_checkpoint(module: nn.Module, path: Path) -> str:
    """Load a safetensors state dict strictly; returns the weights' identity."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_readable(path, missing="no such checkpoint file")
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: a checkpoint is a safetensors file; this one cannot be read: {error}; "
            "save the weights with safetensors.torch.save_file, or name another file"
        ) from None
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise InputError(
            f"{path}: the weights do not fit the model ({' '.join(lines[1:2]) or lines[0]}); check --model, "
            "--num-outputs and the image size"
        ) from None
    return f"file:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


def module_digest(module: nn.Module) -> str:
    """Identity of a module's weights; of its shapes alone on the meta device."""
    found = hashlib.sha256()
    for key, tensor in module.state_dict().items():
        found.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
        if tensor.device.type != "meta":
            found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]
