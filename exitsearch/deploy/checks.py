"""Whether the graphs are the model, and what cutting it costs: what is looked at before a bundle gets its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from exitsearch.deploy.deployed import DeployedGraphs, DeployedRuntime
from exitsearch.deploy.given import INPUT, Given, joined_inputs
from exitsearch.deploy.units import side_inputs_of
from exitsearch.errors import ExitSearchError
from exitsearch.measure.timing import statistics
from exitsearch.measure.timing.clock import HostClock
from exitsearch.measure.timing.paths import time_paths
from exitsearch.models.inputs import Inputs
from exitsearch.models.multi_exit import MultiExitModel
from exitsearch.specs.bundle import ExitAgreement, Precision

Arrays = NDArray[Any]
Progress = Callable[[float, str], None]

# Of outputs in single precision: absolute where they are at most 1, in proportion to the largest where it is larger.
TOLERANCE = 1e-4
# Random inputs that exits are compared over, beside a batch of one.
_RANDOM_INPUTS = 3


@dataclass(frozen=True)
class Samples:
    """Inputs of a data set that answers are compared over.

    Attributes:
        inputs: [samples, channels, height, width].
        split: where they are from.
        side: side inputs [samples, channels, height, width] by name; those that no head reads may stand among them.
    """

    inputs: torch.Tensor
    split: str
    side: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def rows(self, begin: int, end: int) -> Inputs:
        """Some of them."""
        side = {name: values[begin:end].contiguous() for name, values in self.side.items()}
        return Inputs(side, x=self.inputs[begin:end].contiguous())


def compare_exits(
    model: MultiExitModel,
    runtime: DeployedRuntime,
    *,
    precision: Precision,
    samples: Samples | None,
    batch_sizes: Sequence[int] = (1, _RANDOM_INPUTS),
    progress: Progress,
) -> list[ExitAgreement]:
    """Compare every exit with torch in fp32: outputs over random inputs, answers over samples one by one.

    Args:
        precision: of the graphs; the outputs of fp32 must be within `TOLERANCE`.
        samples: None where there are none.
        batch_sizes: of the random inputs.

    Raises:
        ExitSearchError: an exit is not what it is in torch.
    """
    generator = torch.Generator().manual_seed(0)
    largest = [0.0] * (len(model.heads) + 1)
    for size in batch_sizes:
        x = Inputs(
            model.backbone.example_side(size, generator=generator),
            x=model.backbone.example_input(size, generator=generator),
        )
        pairs = zip(runtime.answers(_given(model, x)), _in_torch(model, x), strict=True)
        for number, (found, wanted) in enumerate(pairs):
            difference = _difference(found, wanted, number)
            allowed = TOLERANCE * max(1.0, float(np.abs(wanted).max()))
            if precision == "fp32" and not difference <= allowed:
                raise ExitSearchError(
                    f"{exit_words(model, number)} differs by {difference:.3g} from torch over random inputs, more than "
                    f"{allowed:.3g} ({TOLERANCE:g} of its largest output or of 1): this model cannot be exported "
                    "faithfully; choose another head there, and please report it"
                )
            largest[number] = max(largest[number], difference)
    if samples is None or model.config.backbone.task == "regression":
        return [ExitAgreement(largest_difference=found) for found in largest]
    same = _same_answers(model, runtime, samples, progress)
    return [
        ExitAgreement(agreement=share, samples=len(samples.inputs), split=samples.split, largest_difference=found)
        for share, found in zip(same, largest, strict=True)
    ]


def exit_words(model: MultiExitModel, number: int) -> str:
    """An exit in words."""
    if number == len(model.heads):
        return "the final exit"
    exit_ = model.config.exits[number]
    return f"exit {number} ({exit_.choice} at placement {exit_.placement})"


def _given(model: MultiExitModel, inputs: Inputs) -> Given:
    """What the graphs take of a batch: a head that was not chosen reads nothing."""
    return joined_inputs({name: inputs[name].numpy() for name in (INPUT, *side_inputs_of(model))})


def _in_torch(model: MultiExitModel, inputs: Inputs) -> list[Arrays]:
    read = {name: inputs[name] for name in side_inputs_of(model)}
    with torch.inference_mode():
        return [outputs.float().numpy() for outputs in model(inputs.x, **read)]


def _difference(found: Arrays, wanted: Arrays, number: int) -> float:
    if found.shape != wanted.shape:
        raise ExitSearchError(
            f"exit {number} gives outputs {list(found.shape)} where torch gives {list(wanted.shape)}: this model "
            "cannot be exported; choose exits at other placements"
        )
    return float(np.abs(found.astype(np.float64) - wanted).max())


def _same_answers(model: MultiExitModel, runtime: DeployedRuntime, samples: Samples, progress: Progress) -> list[float]:
    """Share of samples with the same class at each exit, one input a batch, as a device answers them."""
    count = len(samples.inputs)
    same = np.zeros(len(model.heads) + 1)
    for index in range(count):
        progress(index / count, f"comparing answers, sample {index} of {count}")
        x = samples.rows(index, index + 1)
        pairs = zip(runtime.answers(_given(model, x)), _in_torch(model, x), strict=True)
        same += [found.argmax() == wanted.argmax() for found, wanted in pairs]
    return [float(share) for share in same / count]


@dataclass(frozen=True)
class Ratios:
    """What cutting costs, of medians in one interleaved run.

    Attributes:
        chain_over_whole: the segments one after the other, no head among them, over the plain backbone as one graph.
        no_exit_tax: the same with every head on the way.
        whole_ms: of the plain backbone.
        answers_ms: when each exit answers, the final one last, with every head on the way.
        rounds: that were run.
    """

    chain_over_whole: float
    no_exit_tax: float
    whole_ms: float
    answers_ms: list[float]
    rounds: int

    def facts(self) -> dict[str, Any]:
        """For the bundle."""
        return {
            "chain_over_whole": round(self.chain_over_whole, 4),
            "no_exit_tax": round(self.no_exit_tax, 4),
            "whole_ms": round(self.whole_ms, 6),
            "compared_rounds": self.rounds,
        }

    def predicted(self, answers_ms: Sequence[float], *, whole_ms: float) -> list[float]:
        """Predicted over measured time of each answer.

        Both are taken in units of the plain backbone's time in their own run: between two runs a shared machine's speed
        is another.

        Args:
            answers_ms: when each exit is predicted to answer, every head on the way being run.
            whole_ms: the plain backbone's time when that was measured.
        """
        speed = whole_ms / self.whole_ms
        return [mine / (theirs * speed) for mine, theirs in zip(answers_ms, self.answers_ms, strict=True)]


def compare_times(
    runtime: DeployedRuntime,
    graphs: DeployedGraphs,
    inputs: Sequence[Given],
    *,
    max_seconds: float,
    progress: Progress,
) -> Ratios:
    """Time the chain, bare and with every head, and the plain backbone in the same engine, interleaved.

    Args:
        inputs: batches.
        max_seconds: longest time, warm-up left out.
    """
    paths = [[], graphs.keys]
    (bare, full), whole = time_paths(
        runtime, paths, list(inputs), HostClock(), precision=0.002, max_seconds=max_seconds, progress=progress
    )
    whole_ms = statistics.median(whole)
    return Ratios(
        chain_over_whole=bare.answers_ms[-1] / whole_ms,
        no_exit_tax=full.answers_ms[-1] / whole_ms,
        whole_ms=whole_ms,
        answers_ms=full.answers_ms,
        rounds=len(whole),
    )
