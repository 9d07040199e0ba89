"""A backbone small enough to be exported and compiled in a test: 2 blocks over 3 numbers, 4 outputs."""

from __future__ import annotations

import torch
from torch import nn

from exitsearch.models.backbone import Backbone
from exitsearch.specs.backbone import BackboneFacts
from exitsearch.specs.placement import Placement

EXAMPLE = torch.arange(6.0).reshape(2, 3, 1, 1) / 5


class Block(nn.Module):
    """A segment: the features and a second tensor that travels along."""

    def __init__(self, first):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.first = first

    def forward(self, state):
        x, carried = (state[0].flatten(1), state[0].flatten(1)) if self.first else state
        return (self.layer(x).relu(), carried)


class Final(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, state):
        x, carried = state
        return self.layer(x + carried)


class Whole(nn.Module):
    def __init__(self, segments, final):
        super().__init__()
        self.segments, self.final = nn.ModuleList(segments), final

    def forward(self, x):
        state = (x,)
        for segment in self.segments:
            state = segment(state)
        return self.final(state)


def tiny_backbone(task="classification"):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        segments, final = (Block(True), Block(False)), Final()
    placements = tuple(
        Placement(index=index, module=f"segments.{index}", layout="tokens", channels=3, grid=(1, 1), depth=index + 1,
                  reduction=1.0, prefix_tokens=0, class_token=False)
        for index in range(2)
    )  # fmt: skip
    return Backbone(
        Whole(segments, final).eval(),
        placements=placements,
        segments=segments,
        final=final,
        facts=BackboneFacts(name="tiny", input_size=(3, 1, 1), num_outputs=4, task=task),
        weights="random:0",
        final_is_trained=False,
    )


def tiny_heads():
    """One head of one structure at both placements, with weights of their own."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return {(index, "linear"): nn.Linear(3, 4).eval() for index in range(2)}


def answers(runtime, x):
    """Features and decisions along the chain, and the final outputs."""
    found = []
    with torch.inference_mode():
        state = runtime.begin(x)
        for placement, segment in enumerate(runtime.segments):
            state = segment(state)
            features = runtime.features(state)
            found.append(runtime.decide(runtime.heads[placement, "linear"](features)))
        found.append(runtime.decide(runtime.final(state)))
        found.append(runtime.decide(runtime.whole(x)))
    return found


def numbers(decision):
    """A decision as a tensor, to compare."""
    return torch.tensor(decision, dtype=torch.float64)
