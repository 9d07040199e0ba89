"""Memory of a path through a profile, and the peaks that a process or a GPU reached.

Activation bytes come from shapes: what is alive at once is at least a unit's input and its output. What a kernel uses
inside a block is not seen; the allocator's peak on CUDA and the peak resident set on the CPU include it, and everything
else that the process holds.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from exitsearch.specs.profile import Profile


@dataclass(frozen=True)
class PathMemory:
    """Memory of one multi-exit path, from shapes.

    Attributes:
        weight_bytes: the backbone's weights and those of the chosen heads.
        activation_bytes: the largest input and output that any one unit holds together.
    """

    weight_bytes: int
    activation_bytes: int


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
    return PathMemory(sum(unit.weight_bytes or 0 for unit in units), max(held))


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
