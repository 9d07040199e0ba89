"""Recipes: how a multi-exit model is trained, as data, and the losses as plain functions, for anybody's loop."""
