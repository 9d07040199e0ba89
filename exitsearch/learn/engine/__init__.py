"""The engine: runs the stages of a recipe over a multi-exit model, on one machine or several, and can be killed."""
