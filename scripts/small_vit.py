"""Training a small ViT from scratch: what the scripts that make the packaged backbones share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.vision_transformer import VisionTransformer
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.utils.model_ema import ModelEmaV3

# Images and labels of a split.
Tensors = tuple[torch.Tensor, torch.Tensor]
# From images [batch, 1, height, width] to changed ones of the same shape.
Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]

# Inputs that are evaluated at once.
_AT_ONCE = 1000


def random_affine(
    images: torch.Tensor,
    generator: torch.Generator,
    *,
    degrees: float = 15,
    scale: float = 0.1,
    pixels: float = 1,
    flip: bool = False,
) -> torch.Tensor:
    """Change each image a little; images [batch, 1, height, width].

    Args:
        degrees: most that it is rotated by.
        scale: largest share that it is scaled by.
        pixels: most that it is shifted by, along each side.
        flip: whether every other one is mirrored.
    """
    count = len(images)
    uniform = torch.rand(count, 4, generator=generator) * 2 - 1
    angle = uniform[:, 0] * math.radians(degrees)
    size = 1 + scale * uniform[:, 1]
    shift = uniform[:, 2:] * 2 * pixels / images.shape[-1]
    cos, sin = torch.cos(angle) * size, torch.sin(angle) * size
    mirror = torch.ones(count)
    if flip:
        mirror = torch.randint(2, (count,), generator=generator) * 2.0 - 1
    theta = torch.stack(
        [torch.stack([cos * mirror, -sin, shift[:, 0]], -1), torch.stack([sin * mirror, cos, shift[:, 1]], -1)], 1
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def initialise(model: VisionTransformer) -> None:
    """Start weights wider than timm does, whose 0.02 suits a width of 768 and lets a width of 64 stand still."""
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.xavier_uniform_(parameter)
    assert model.pos_embed is not None
    with torch.no_grad():
        # Positions must be told apart from the first step.
        grid = list(model.patch_embed.grid_size)
        model.pos_embed[0, 1:] = build_sincos2d_pos_embed(grid, model.embed_dim).flatten(0, -2)


def make_optimizers(model: torch.nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for everything else: on the digits 97% in nine epochs.

    AdamW alone has 52% then.
    """
    matrices = {name: p for name, p in model.named_parameters() if name.startswith("blocks.") and p.ndim == 2}
    others = [p for name, p in model.named_parameters() if name not in matrices]
    return [
        torch.optim.Muon(matrices.values(), lr=0.02, weight_decay=0.05),
        torch.optim.AdamW(others, lr=2e-3, weight_decay=0.05),
    ]


@torch.no_grad()
def accuracy(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of right answers."""
    model.eval()
    right = [model(part).argmax(-1) == labels[start : start + len(part)] for start, part in _parts(images)]
    return float(torch.cat(right).float().mean())


def _parts(images: torch.Tensor) -> list[tuple[int, torch.Tensor]]:
    return [(start, images[start : start + _AT_ONCE]) for start in range(0, len(images), _AT_ONCE)]


def train(
    model: torch.nn.Module,
    data: Tensors,
    *,
    epochs: int,
    batch_size: int,
    augment: Augment,
    generator: torch.Generator,
) -> torch.nn.Module:
    """Train a model.

    Returns:
        The same with the moving average of its weights.
    """
    images, labels = data
    batches = len(images) // batch_size
    steps = epochs * batches
    optimizers = make_optimizers(model)
    schedules = [CosineLRScheduler(o, t_initial=steps, warmup_t=steps // 20, t_in_epochs=False) for o in optimizers]
    ema = ModelEmaV3(model, decay=0.995, use_warmup=True)
    started, step = time.perf_counter(), 0
    for epoch in range(epochs):
        model.train()
        order = torch.randperm(len(images), generator=generator)
        total = 0.0
        for chosen in torch.split(order[: batches * batch_size], batch_size):
            outputs = model(augment(images[chosen], generator))
            loss = F.cross_entropy(outputs, labels[chosen], label_smoothing=0.05)
            model.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            step += 1
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                schedule.step_update(step)
            ema.update(model)
            total += float(loss.detach())
        seconds = time.perf_counter() - started
        print(f"epoch {epoch + 1}/{epochs}: loss {total * batch_size / len(images):.4f}, {seconds:.0f} s", flush=True)
    averaged: torch.nn.Module = ema.module
    return averaged
