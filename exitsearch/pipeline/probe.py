"""The step `train-heads --probe`: closed-form probes, before any head is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from exitsearch.pipeline.backbone import BackboneRequest
from exitsearch.pipeline.outcomes import Training
from exitsearch.pipeline.profile import torch_threads
from exitsearch.pipeline.watch import Watch
from exitsearch.specs.question.candidates import Candidates

if TYPE_CHECKING:
    from exitsearch.learn.probe import Method, Probe


@dataclass(frozen=True)
class Probes:
    """What was found.

    Attributes:
        backbone: its name.
        data: its name.
        metric: of the scores.
        method: `lda` or `ridge`.
        samples: how many they were scored on.
        scores: one a placement, and last the final exit's where it is trained.
    """

    backbone: str | None
    data: str
    metric: str
    method: Method
    samples: int
    scores: list[Probe]


def probe(model: BackboneRequest, training: Training, *, candidates: Candidates | None = None, watch: Watch) -> Probes:
    """Score a linear probe of every placement where a candidate may stand.

    Args:
        model: which backbone.
        training: its data, metric, device and threads; nothing is trained.
        candidates: what may be chosen; None takes every placement.
        watch: is shown the progress.
    """
    from exitsearch.learn.losses import metric_of
    from exitsearch.learn.probe import method_for, probe_placements
    from exitsearch.measure.machine.fingerprint import resolve_device
    from exitsearch.models.heads import fitting_exits

    name = training.data_for(model.name)
    device = resolve_device(training.device)
    outputs = model.num_outputs or training.outputs(name, task=model.task)
    backbone = model.changed(num_outputs=outputs).create_trained(watch)
    data = training.load(name, backbone=backbone, watch=watch)
    placements = None
    if candidates is not None:
        placements = sorted({placement for placement, _ in fitting_exits(backbone.placements, candidates)})
    with watch.progress(f"probing {backbone.facts.name}") as report, torch_threads(training.threads):
        scores = probe_placements(backbone, data, placements=placements, device=device, progress=report)
    return Probes(
        backbone=backbone.facts.name,
        data=data.name,
        metric=metric_of(data.task),
        method=method_for(data.task),
        samples=len(data.choice),
        scores=scores,
    )
