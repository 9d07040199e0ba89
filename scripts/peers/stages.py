"""A multi-exit model in earlyon's staged form: a stage for each exit, earlyon's rule between them.

    stage 0: trunk -> features -> head -> logits     sure enough: leave; else
    stage 1: trunk of these features -> ...          at the end the final logits

The package (PyPI, 0.3.0) cuts backbones that are an `nn.Sequential`, and runs the stages in torch, one input at a time
(`earlyon.staged`). It writes no stage to a file; its documentation names ONNX graphs for each, with its rule between
them, as the way to deploy. Both are done here: `TorchStages` is the package's own runtime, `OnnxStages` that loop over
graphs with the options of our own runtime. A stage whose exit is not enabled is a trunk alone in both.
"""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from exitsearch.deploy.units import FusedSegment
from exitsearch.errors import UnsupportedError
from exitsearch.models.multi_exit import MultiExitModel
from peers.asking import Array, Clock, Peer, Reply
from peers.graphs import Graph
from peers.planning import Correction
from peers.settings import Setting, Settings, Table


class Stages(ABC):
    """Runs one input through stages.

    Attributes:
        exits: how many there are beside the final one.
        megabytes: of weights and graphs.
    """

    exits: int
    megabytes: float

    @abstractmethod
    def infer(self, x: Array, setting: Setting) -> tuple[Array, int]:
        """Outputs [num_outputs] and the exit that answered, of an input [1, channels, height, width]."""


class _OneTensor(nn.Module):
    """A part of the backbone from one tensor to one tensor."""

    def __init__(self, segment: FusedSegment) -> None:
        super().__init__()
        self.segment = segment

    def forward(self, x: Tensor) -> Tensor:
        following = self.segment(x)
        if len(following) != 1:
            raise UnsupportedError(
                f"earlyon hands one tensor from stage to stage, this backbone {len(following)}: its peer is left out"
            )
        only: Tensor = following[0]
        return only


def sequential(model: MultiExitModel) -> nn.Sequential:
    """The backbone as an `nn.Sequential` with a module between every two exits."""
    backbone, parts, start = model.backbone, list[FusedSegment](), 0
    for exit_ in model.config.exits:
        parts.append(FusedSegment(backbone.segments[start : exit_.placement + 1]))
        start = exit_.placement + 1
    parts.append(FusedSegment([*backbone.segments[start:], backbone.final]))
    return nn.Sequential(OrderedDict((f"part{k}", _OneTensor(part)) for k, part in enumerate(parts)))


def staged(model: MultiExitModel) -> Any:
    """earlyon's `StagedModel` of a trained model, with its own heads and weights.

    Raises:
        UnsupportedError: more than one tensor goes from one part of the backbone to the next.
        ImportError: earlyon is not installed.
    """
    from earlyon.core.flops import FlopsEstimate
    from earlyon.core.types import EarlyExitConfig, ExitPoint
    from earlyon.core.wrappers import EarlyExitWrapper
    from earlyon.staged import staged_model

    # It registers hooks, and puts modules into its own: what is measured beside it must not see that.
    model = copy.deepcopy(model).eval()
    facts = model.config.backbone
    points = [
        ExitPoint(name=f"exit{k}", layer_name=f"part{k}", in_channels=facts.num_outputs or 1)
        for k in range(len(model.heads))
    ]
    wrapper = EarlyExitWrapper(
        sequential(model),
        {point.name: head for point, head in zip(points, model.heads, strict=True)},
        lambda features: features,
        EarlyExitConfig(backbone=str(facts.name), num_classes=facts.num_outputs or 0, exit_points=points),
        input_shape=(1, *model.backbone.input_size),
    ).eval()
    # Of operations, which decide nothing here.
    shares = {point.layer_name: (k + 1) / (len(points) + 1) for k, point in enumerate(points)}
    wrapper._flops_estimate = FlopsEstimate(fractions=shares, method="uniform", reliable=False)
    return staged_model(wrapper)


class TorchStages(Stages):
    """`earlyon.staged.StagedModel`, as the package runs it."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.exits = len(model.config.exit_points)
        self.megabytes = sum(p.numel() * p.element_size() for p in model.parameters()) / 1e6

    def infer(self, x: Array, setting: Setting) -> tuple[Array, int]:
        config = self._model.config
        config.enabled_exits = list(setting.enabled)
        config.confidence_thresholds = list(setting.thresholds)
        for point, temperature in zip(config.exit_points, setting.temperatures, strict=True):
            config.temperatures[point.name] = temperature
        found = self._model.infer(torch.from_numpy(x))
        outputs: Array = found.prediction[0].numpy()
        return outputs, self.exits if found.exit_taken < 0 else found.exit_taken


class OnnxStages(Stages):
    """The same stages as ONNX graphs, in sessions with the options of `exitsearch.runtime`.

    Args:
        model: earlyon's.
        example: an input.
        folder: for the graphs.
        threads: of a run.
    """

    def __init__(self, model: Any, example: Tensor, *, folder: Path, threads: int) -> None:
        self.exits = len(model.config.exit_points)
        self._trunks, self._stages, state = list[Graph](), list[Graph](), example
        for number, stage in enumerate(model.stages):
            path = folder / f"trunk{number}.onnx"
            self._trunks.append(Graph(stage.trunk, state, path=path, threads=threads))
            if number < self.exits:
                names = ("features", "logits")
                path = folder / f"stage{number}.onnx"
                self._stages.append(Graph(stage, state, path=path, outputs=names, threads=threads))
            with torch.no_grad():
                state = stage.trunk(state).clone()
        # A deployed one has the stages and the last trunk.
        self.megabytes = sum(graph.megabytes for graph in (*self._stages, self._trunks[-1]))

    def infer(self, x: Array, setting: Setting) -> tuple[Array, int]:
        features = x
        for exit_, stage in enumerate(self._stages):
            if not setting.enabled[exit_]:
                (features,) = self._trunks[exit_](features)
                continue
            features, logits = stage(features)
            if setting.leaves(exit_, logits)[0]:
                return logits[0], exit_
        return self._trunks[-1](features)[0][0], self.exits


class Staged(Peer):
    """Stages under configurations that a table names for each budget.

    Args:
        name: of the peer.
        words: what it is.
        stages: run it.
        inputs: each [1, channels, height, width].
        settings: that the table numbers.
        table: by budget.
    """

    def __init__(
        self,
        name: str,
        words: str,
        *,
        stages: Stages,
        inputs: Sequence[Array],
        settings: Settings,
        table: Table,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.name, self.words, self.megabytes = name, words, stages.megabytes
        self._stages, self._inputs, self._settings, self._table = stages, inputs, settings, table
        self._clock = clock
        self._correction = Correction(settings.times.behind_all[-1], clock=clock)

    def ask(self, sample: int, budget_ms: float) -> Reply:
        arrived = self._clock()
        number = self._table.at(self._correction.within(budget_ms))
        if number is None:
            return Reply(None, (self._clock() - arrived) * 1e3, refused=True)
        outputs, exit_ = self._stages.infer(self._inputs[sample], self._settings.settings[number])
        outputs.argmax()
        time_ms = (self._clock() - arrived) * 1e3
        self._correction.observe(time_ms, median_ms=float(self._settings.median_ms[number, exit_]))
        return Reply(outputs, time_ms, exit_)
