"""The steps of `check_cuda.py`, the most telling first."""

from __future__ import annotations

from cuda_steps import guarding, predictions, protocol, sessions, training, units, workflow
from cuda_steps.step import Step

# Prediction comes before the other models' units: a wrong formula for a path spoils more than a unit of one family.
STEPS: tuple[Step, ...] = (
    protocol.ENVIRONMENT,
    protocol.CLOCK,
    *units.steps("vit_tiny_patch16_224"),
    sessions.SESSION,
    workflow.COMMANDS,
    *predictions.STEPS,
    *units.steps("resnet50"),
    *units.steps("swin_tiny_patch4_window7_224"),
    guarding.SHARED_GPU,
    guarding.BUSY_CORE,
    guarding.GUARD,
    guarding.REPEATABILITY,
    protocol.ENERGY,
    training.RESUME,
)

__all__ = ["STEPS", "Step"]
