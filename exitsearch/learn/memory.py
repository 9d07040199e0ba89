"""Memory of a training as it runs: what is held, and the most that was."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch


def watch_peak(device: torch.device) -> int | None:
    """Forget the peak so far.

    Returns:
        Bytes that are held now: on CUDA by torch's allocator, on the CPU by the process; None where the system does
        not tell (only Linux does).
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak to what is held now
        return _status_bytes("VmRSS")
    return None


def peak_bytes(device: torch.device) -> int | None:
    """The most bytes that were held since `watch_peak`; None where the system does not tell."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _status_bytes("VmHWM")


def _status_bytes(key: str) -> int | None:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return None
