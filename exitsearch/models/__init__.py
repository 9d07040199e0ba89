"""Backbones cut at every placement, exit heads, and the model that joins them. torch and timm."""
