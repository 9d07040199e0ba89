"""What the steps `train-heads` and `train` would take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exitsearch.pipeline.backbone import BackboneRequest
from exitsearch.pipeline.outcomes import Training
from exitsearch.pipeline.profile import torch_threads
from exitsearch.pipeline.watch import Watch
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.question.candidates import Candidates

if TYPE_CHECKING:
    from exitsearch.learn.engine.estimate import ModelEstimate
    from exitsearch.learn.estimate import Estimate
    from exitsearch.learn.recipes.recipe import Recipe
    from exitsearch.pipeline.training.train import ModelTraining


def estimate_outcomes(
    model: BackboneRequest, training: Training, *, candidates: Candidates | None = None, watch: Watch
) -> Estimate:
    """Take a few real steps of the training that `make_outcomes` would do with these arguments, and write nothing."""
    from exitsearch.learn.estimate import estimate_training
    from exitsearch.measure.machine.fingerprint import resolve_device
    from exitsearch.models.heads import fitting_exits

    data = training.data_for(model.name)
    device = resolve_device(training.device)
    outputs = model.num_outputs or training.outputs(data, task=model.task)
    backbone = model.changed(num_outputs=outputs).create_trained(watch)
    splits = training.load(data, backbone=backbone, watch=watch)
    with torch_threads(training.threads):
        found = estimate_training(
            backbone,
            splits,
            exits=fitting_exits(backbone.placements, candidates),
            recipe=training.asked_recipe(),
            seed=training.seed,
            device=device,
        )
    splits.close()
    return found


def estimate_model(
    config: MultiExitConfig, recipe: Recipe, training: Training, asked: ModelTraining, *, watch: Watch
) -> ModelEstimate:
    """Take a few real steps of every stage that `train_chosen` would run with these arguments, and write nothing."""
    from exitsearch.learn.engine.estimate import estimate_model_training
    from exitsearch.measure.machine.fingerprint import resolve_device
    from exitsearch.pipeline.training.train import make, prepare

    device = resolve_device(training.device)
    made = make(config, training, asked, watch=watch)
    try:
        model, given = prepare(made, recipe, training, asked, watch=watch)
        known = {name: given[name] for name in ("warm", "teacher", "chances") if name in given}
        with torch_threads(training.threads):
            return estimate_model_training(
                model,
                made.data,
                recipe=recipe,
                seed=training.seed,
                mixed_precision=asked.mixed_precision,  # type: ignore[arg-type]  # it is checked there
                accumulate=asked.accumulate,
                device=device,
                **known,
            )
    finally:
        made.data.close()
