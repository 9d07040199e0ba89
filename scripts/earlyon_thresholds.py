"""Thresholds as the package earlyon sets them (PyPI, 0.3.0), by calling it: `pip install earlyon`.

earlyon calibrates an `EarlyExitWrapper` on a loader. Ours replays: its input is all outputs of a sample side by side,
its layers hand them on, its heads do nothing. The compute share that earlyon estimates from operations is set to the
share of the latency that an answer takes, so that its compute budget is our time budget. Both of its calibrators are
run over a range of targets; each result is one configuration of thresholds.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from exitsearch.search.problem import Choice
from exitsearch.search.thresholds.replay import Replay, Staircase
from exitsearch.search.thresholds.scores import Answers
from exitsearch.specs.outcomes import Samples

DROPS = (0.0, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2)
SHARES = np.linspace(0.05, 1.0, 39)


def installed() -> bool:
    try:
        import earlyon  # noqa: F401
    except ImportError:
        return False
    return True


def replaying_model(shares: Sequence[float], *, classes: int) -> Any:
    """earlyon's model whose input is what the exits answered, [batch, (exits + 1) * classes].

    Args:
        shares: of the whole time that an answer of each exit takes, the final one left out.
        classes: outputs of an exit.
    """
    import torch
    from earlyon.core.flops import FlopsEstimate
    from earlyon.core.types import EarlyExitConfig, ExitPoint
    from earlyon.core.wrappers import EarlyExitWrapper

    exits = len(shares)

    class Outputs(torch.nn.Module):
        """Hands the outputs of each exit to a layer of its own, and last returns the final ones."""

        def __init__(self) -> None:
            super().__init__()
            for k in range(exits):
                setattr(self, f"exit{k}", torch.nn.Identity())

        def forward(self, x: Any) -> Any:
            parts = x.chunk(exits + 1, dim=1)
            for k, part in enumerate(parts[:-1]):
                getattr(self, f"exit{k}")(part)
            return parts[-1]

    points = [ExitPoint(name=f"exit{k}", layer_name=f"exit{k}", in_channels=classes) for k in range(exits)]
    model = EarlyExitWrapper(
        Outputs(),
        {point.name: torch.nn.Identity() for point in points},
        lambda features: features,
        EarlyExitConfig(backbone="replay", num_classes=classes, exit_points=points),
        input_shape=(1, classes * (exits + 1), 1, 1),
    )
    model._flops_estimate = FlopsEstimate(
        fractions={point.layer_name: float(share) for point, share in zip(points, shares, strict=True)},
        method="latency",
        reliable=True,
    )
    return model


def earlyon_thresholds(
    replay: Replay, answers: Answers, samples: Samples, choice: Choice, keys: list[tuple[int, str]]
) -> Staircase:
    """The operating points of earlyon's greedy search.

    Args:
        replay: of the choice, on the samples.
        answers: for the temperatures.
        samples: raw outputs.
        choice: the exits.
        keys: (placement, head) of each.
    """
    import torch
    from earlyon.core.thresholds import calibrate_thresholds, calibrate_thresholds_for_budget

    outputs = [samples.outputs[key] / answers.temperatures[row] for key, row in zip(keys, choice, strict=True)]
    outputs.append(samples.final / answers.temperatures[-1])
    loader = [
        (
            torch.from_numpy(np.concatenate(outputs, axis=1).astype(np.float32)),
            torch.from_numpy(samples.labels.astype(np.int64)),
        )
    ]
    # Arrival and head times; the final exit, which has no head, stands last and is not an exit point.
    shares = np.minimum((replay.arrival + np.cumsum(replay.head)) / replay.arrival[-1], 1.0)
    model = replaying_model(shares[: replay.exits].tolist(), classes=samples.final.shape[1])
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # targets out of reach; the configuration found still counts
        for drop in DROPS:
            found.append(calibrate_thresholds(model, loader, target_accuracy_drop=drop))
        for share in SHARES:
            found.append(calibrate_thresholds_for_budget(model, loader, target_computation=float(share)))
    return replay.staircase(
        np.array([np.where(result.enabled_exits, result.thresholds, np.inf) for result in found], dtype=np.float64)
    )
