"""Deploying a chosen model: its graphs, their weights, what they take, and the checks that they are the model."""
