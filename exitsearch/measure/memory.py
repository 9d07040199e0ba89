"""Memory while measuring: what torch's allocator took for each unit, and the peaks of process and device.

What a path holds follows from these and from shapes (`specs/memory.py`). On the CPU only the peak resident set is
known, which includes everything else that the process holds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch

from exitsearch.measure.runtimes.base import Runtime, heads_by_placement


def unit_scratch_bytes(runtime: Runtime, x: Any, device: torch.device, *, cuda: Any = torch.cuda) -> dict[Any, int]:
    """What each unit allocates at most beyond what stood before, its results included, from one pass.

    Args:
        runtime: its units take their memory from torch's allocator.
        x: one batch.
        device: the CUDA device.
        cuda: `torch.cuda`, or a stand-in.

    Returns:
        Bytes by ("segment", k), ("final", 0), ("whole", 0) and (placement, head).
    """
    placed = heads_by_placement(runtime.heads)
    found: dict[Any, int] = {}

    def run(key: Any, unit: Callable[[Any], Any], argument: Any) -> Any:
        cuda.synchronize(device)
        cuda.reset_peak_memory_stats(device)
        before = cuda.memory_allocated(device)
        result = unit(argument)
        cuda.synchronize(device)
        found[key] = max(0, cuda.max_memory_allocated(device) - before)
        return result

    with torch.inference_mode():
        state = runtime.begin(x)
        for placement, segment in enumerate(runtime.segments):
            state = run(("segment", placement), segment, state)
            for key in placed.get(placement, []):
                run(key, runtime.heads[key], runtime.features(state))
        run(("final", 0), runtime.final, state)
        run(("whole", 0), runtime.whole, x)
    return found


def peak_rss_bytes() -> int | None:
    """The largest resident set that this process ever had; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak if sys.platform == "darwin" else peak * 1024


def reset_device_peak(device: torch.device) -> None:
    """Begin to watch the allocator's peak; nothing to do on the CPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def device_peak_bytes(device: torch.device) -> int | None:
    """The allocator's peak since `reset_device_peak`, all weights included; None on the CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
