"""Memory of a path through a profile, and the peaks that a process or a GPU reached.

Activation bytes come from shapes: what is alive at once is at least a unit's input and its output. What a kernel uses
inside a block is not in them. On CUDA the allocator's peak of each unit is measured, and a path's peak follows from
these; on the CPU only the peak resident set is known, which includes everything else that the process holds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from exitsearch.measure.runtimes.base import Runtime, heads_by_placement
from exitsearch.specs.profile import Profile


@dataclass(frozen=True)
class PathMemory:
    """Memory of one multi-exit path, from shapes.

    Attributes:
        weight_bytes: the backbone's weights and those of the chosen heads.
        activation_bytes: the largest input and output that any one unit holds together.
        device_peak_bytes: weights, and the most that any one unit had allocated with its input beside it; None where
            the profile holds no measured scratch memory.
    """

    weight_bytes: int
    activation_bytes: int
    device_peak_bytes: int | None = None


def path_memory(profile: Profile, exits: Sequence[tuple[int, str]]) -> PathMemory | None:
    """Memory of a path; None where the profile does not hold the bytes of some unit.

    Args:
        profile: with counts.
        exits: (placement, head) pairs in placement order; none for the plain backbone.

    Raises:
        InputError: the profile holds no such head.
    """
    heads = [profile.head(placement, head) for placement, head in exits]
    units = [*profile.segments, *heads, profile.final]
    if any(unit.weight_bytes is None or unit.activation_bytes is None for unit in units):
        return None
    handed = [segment.activation_bytes or 0 for segment in profile.segments]
    held = [before + after for before, after in pairwise(handed)]
    held += [handed[head.placement] + (head.activation_bytes or 0) for head in heads]
    held += [handed[0], handed[-1] + (profile.final.activation_bytes or 0)]
    weights = sum(unit.weight_bytes or 0 for unit in units)
    return PathMemory(weights, max(held), _device_peak(profile, exits, weights))


def _device_peak(profile: Profile, exits: Sequence[tuple[int, str]], weights: int) -> int | None:
    """What the device holds at most. A segment runs beside its input; a head beside the features that it reads."""
    heads = [profile.head(placement, head) for placement, head in exits]
    if any(unit.scratch_bytes is None for unit in (*profile.segments, *heads, profile.final)):
        return None
    handed = [segment.activation_bytes or 0 for segment in profile.segments]
    peaks = [
        before + (unit.scratch_bytes or 0)
        for before, unit in zip((0, *handed), (*profile.segments, profile.final), strict=True)
    ]
    peaks += [handed[head.placement] + (head.scratch_bytes or 0) for head in heads]
    return weights + max(peaks)


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
