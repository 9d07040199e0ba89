"""Shares: which process trains which heads, so that all are done at about the same time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from exitsearch.learn.bank.denormals import denormals_flushed
from exitsearch.models.backbone import Backbone
from exitsearch.models.heads import create_head
from exitsearch.models.inputs import run_head

Pair = tuple[int, str]

# The first pass warms up. Of the others the fastest counts: neighbours make a pass slower, nothing makes it faster.
_PASSES = 4


@denormals_flushed()
def head_seconds(
    backbone: Backbone, pairs: Sequence[Pair], *, batch_size: int, device: torch.device
) -> dict[Pair, float]:
    """Seconds that a forward and a backward pass of each head take on one batch.

    A head type is timed once for features of one shape, of which most backbones have few.

    Args:
        backbone: is moved to `device`.
        pairs: (placement, head) of the heads.
        batch_size: inputs of the batch.
        device: where they will be trained.
    """
    found: dict[Pair, float] = {}
    known: dict[tuple[str, tuple[int, ...]], float] = {}
    last = max((placement for placement, _ in pairs), default=-1)
    backbone.to(device).eval()
    generator = torch.Generator().manual_seed(0)
    states = backbone.states(backbone.example_input(batch_size, generator=generator))
    side = backbone.example_side(batch_size, generator=generator)
    for placement in range(last + 1):
        with torch.no_grad():
            features = next(states)[0]
        for pair in (pair for pair in pairs if pair[0] == placement):
            kind = (pair[1], tuple(features.shape))
            if kind not in known:
                head = create_head(
                    pair[1], placement=backbone.placements[placement], num_outputs=backbone.num_outputs, seed=0
                )
                known[kind] = _seconds(head.to(device), features, side)
            found[pair] = known[kind]
    return found


def _seconds(head: nn.Module, features: Tensor, side: Mapping[str, Tensor]) -> float:
    """Of one forward and backward pass, in training mode and without a trace in the global generator."""
    device = features.device
    seconds: list[float] = []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for _ in range(_PASSES):
            head.zero_grad(set_to_none=True)
            start = time.perf_counter()
            run_head(head.train(), features, side).sum().backward()  # type: ignore[no-untyped-call]
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def balanced(costs: Mapping[Pair, float], *, count: int) -> list[list[Pair]]:
    """Heads in so many shares whose costs differ little: the dearest first, each to the share with the least so far.

    At worst the dearest share costs 4/3 of what the best division has (Graham 1969, longest processing time first).

    Args:
        costs: of each (placement, head), at least 0.
        count: of shares, at least 1; some are empty where there are fewer heads.

    >>> balanced({(0, "a"): 5, (0, "b"): 4, (1, "a"): 3, (1, "b"): 3, (2, "a"): 3}, count=2)
    [[(0, 'a'), (1, 'b')], [(0, 'b'), (1, 'a'), (2, 'a')]]
    """
    shares: list[list[Pair]] = [[] for _ in range(count)]
    sums = [0.0] * count
    for pair in sorted(costs, key=lambda pair: (-costs[pair], pair)):
        least = sums.index(min(sums))
        shares[least].append(pair)
        sums[least] += costs[pair]
    return [sorted(share) for share in shares]
