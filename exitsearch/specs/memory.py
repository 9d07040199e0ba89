"""Memory of a path through a profile, from the bytes that its units hold.

Activation bytes come from shapes: what is alive at once is at least a unit's input and its output. What a kernel uses
inside a block is not in them. On CUDA the profile holds what torch's allocator took while each unit ran, and a path's
peak follows from these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from exitsearch.specs.profile import HeadCost, Profile

_ELEMENT_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


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
        profile: with counts, of one batch size.
        exits: (placement, head) pairs in placement order; none for the plain backbone.

    Raises:
        InputError: the profile holds no such head.
    """
    heads = [profile.head(placement, head) for placement, head in exits]
    units = [*profile.segments, *heads, profile.final]
    if any(unit.weight_bytes is None or unit.activation_bytes is None for unit in units):
        return None
    weights = sum(unit.weight_bytes or 0 for unit in units)
    return PathMemory(weights, held_bytes(profile, heads), _device_peak(profile, heads, weights))


def held_bytes(profile: Profile, heads: Sequence[HeadCost]) -> int:
    """The largest input and output that any one segment, head or the final part holds together, for one batch.

    Args:
        profile: whose units all know their bytes.
        heads: of the profile.
    """
    handed = [segment.activation_bytes or 0 for segment in profile.segments]
    last = profile.final.activation_bytes or 0
    held = [before + after for before, after in pairwise([_input_bytes(profile), *handed, last])]
    return max([_side_bytes(profile) + max(held), *(head_held_bytes(profile, head) for head in heads)])


def head_held_bytes(profile: Profile, head: HeadCost) -> int:
    """Input and output that a head holds together, for one batch. It and its placement know their bytes."""
    features = profile.segments[head.placement].activation_bytes or 0
    return _side_bytes(profile) + features + (head.activation_bytes or 0)


def _input_bytes(profile: Profile) -> int:
    """Bytes of one batch of inputs; 0 where the profile does not say how large they are."""
    size = profile.backbone.input_size
    return 0 if size is None else math.prod(size) * _batch_elements_bytes(profile)


def _side_bytes(profile: Profile) -> int:
    """Bytes of one batch of all side inputs, which are held until the last head may have read them."""
    sizes = profile.backbone.side_inputs.values()
    return sum(math.prod(size) for size in sizes) * _batch_elements_bytes(profile)


def _batch_elements_bytes(profile: Profile) -> int:
    """Bytes of one number of every input of a batch; 0 where the profile does not say."""
    batch, dtype = profile.batch_sizes[0], str(profile.environment.identity.get("dtype"))
    return 0 if batch is None else batch * _ELEMENT_BYTES.get(dtype, 0)


def _device_peak(profile: Profile, heads: Sequence[HeadCost], weights: int) -> int | None:
    """What the device holds at most. A segment runs beside its input; a head beside the features that it reads."""
    if any(unit.scratch_bytes is None for unit in (*profile.segments, *heads, profile.final)):
        return None
    handed = [_input_bytes(profile), *(segment.activation_bytes or 0 for segment in profile.segments)]
    units = (*profile.segments, profile.final)
    peaks = [before + (unit.scratch_bytes or 0) for before, unit in zip(handed, units, strict=True)]
    peaks += [handed[head.placement + 1] + (head.scratch_bytes or 0) for head in heads]
    return weights + _side_bytes(profile) + max(peaks)
