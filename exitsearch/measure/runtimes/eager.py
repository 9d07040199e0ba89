"""The eager runtime: torch runs each operator as Python reaches it, as models run by default."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor, nn

from exitsearch.measure.runtimes.base import Runtime, UnitKey, side_values
from exitsearch.models.backbone import Backbone, State


class EagerRuntime(Runtime):
    """Plain torch."""

    name = "eager"
    summary = "plain torch, operator by operator"
    cuts_are_free = True
    allocates = True

    @classmethod
    def check(cls, device: torch.device, dtype: str) -> None:
        """Nothing is refused: torch runs everywhere, if slowly."""

    def __init__(
        self,
        backbone: Backbone,
        heads: Mapping[UnitKey, nn.Module],
        *,
        example: Tensor,
        side: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        self.segments = backbone.segments
        read = {key: side_values(head, side) for key, head in heads.items()}
        self.heads = {key: partial(head, **read[key]) if read[key] else head for key, head in heads.items()}
        self.final = backbone.final
        self.whole = backbone.module
        self.task = backbone.facts.task

    def begin(self, x: Tensor) -> State:  # noqa: D102
        return (x,)

    def features(self, state: State) -> Tensor:  # noqa: D102
        return state[0]

    def decide(self, outputs: Tensor) -> object:
        """Answer and confidence of every input on the host; for regression the values themselves.

        One copy to the host, so one wait: answers travel beside the confidences, as numbers of the same kind.
        """
        if self.task == "regression":
            return outputs.tolist()
        confidence, answer = outputs.float().softmax(dim=-1).max(dim=-1)
        return torch.stack((confidence, answer.float())).tolist()
