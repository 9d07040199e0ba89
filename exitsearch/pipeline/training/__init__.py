"""The step `train`: what a model begins with, who teaches it, and by which recipe it is trained."""
