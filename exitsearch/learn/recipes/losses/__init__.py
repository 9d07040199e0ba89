"""Losses of multi-exit models: plain functions, one file a family, and their registry of names."""

from exitsearch.learn.recipes.losses import alternating, budget, copycat, distill, joint, lgvit, separate
from exitsearch.learn.recipes.losses.registry import LOSSES, Loss, NamedLoss, register

__all__ = [
    "LOSSES",
    "Loss",
    "NamedLoss",
    "alternating",
    "budget",
    "copycat",
    "distill",
    "joint",
    "lgvit",
    "register",
    "separate",
]
