"""Losses of multi-exit models: plain functions, one file a family, and their registry of names."""

from exitsearch.learn.recipes.losses import joint
from exitsearch.learn.recipes.losses.registry import LOSSES, Loss, NamedLoss, register

__all__ = ["LOSSES", "Loss", "NamedLoss", "joint", "register"]
