"""Train the embedded default backbone from scratch and write its packaged weights.

Trains `vit_digits_patch1_8` on the `heads` split of scikit-learn's digits with small random affine changes, keeps an
exponential moving average of the weights, and prints the accuracy on the two held-out splits, which took no part in
any decision (no early stopping, no selection among epochs).

    python scripts/train_digits_backbone.py            # about 15 minutes on two CPU cores
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.utils import ModelEmaV3

from exitsearch.learn.digits import digits_splits
from exitsearch.models.embedded import EMBEDDED_NAME, WEIGHTS_FILE


def random_affine(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Rotate by up to 15 degrees, scale by up to 10%, shift by up to one pixel; images [batch, 1, height, width]."""
    count = len(images)
    uniform = torch.rand(count, 4, generator=generator) * 2 - 1
    angle = uniform[:, 0] * math.radians(15)
    scale = 1 + 0.1 * uniform[:, 1]
    shift = uniform[:, 2:] * 2 / images.shape[-1]
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([torch.stack([cos, -sin, shift[:, 0]], -1), torch.stack([sin, cos, shift[:, 1]], -1)], 1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


@torch.no_grad()
def accuracy(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    model.eval()
    return float((model(images).argmax(-1) == labels).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WEIGHTS_FILE)
    parser.add_argument("--json", type=Path, help="also write the printed figures here")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    model = timm.create_model(EMBEDDED_NAME, drop_path_rate=0.1)
    # A token is one pixel: with timm's usual 0.02 the pixel's embedding drowns the position and nothing is learnt.
    torch.nn.init.normal_(model.pos_embed, std=0.5)
    splits = digits_splits()
    mean, std = model.pretrained_cfg["mean"][0], model.pretrained_cfg["std"][0]
    tensors = {
        name: (torch.from_numpy((split.images - mean) / std).float(), torch.from_numpy(split.labels))
        for name, split in splits.items()
    }
    images, labels = tensors["heads"]
    batch = 64
    steps = args.epochs * (len(images) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.5e-3, total_steps=steps, pct_start=0.1)
    ema = ModelEmaV3(model, decay=0.995, use_warmup=True)

    started = time.perf_counter()
    for epoch in range(args.epochs):
        model.train()
        order = torch.randperm(len(images), generator=generator)
        total = 0.0
        for chosen in order[: len(order) // batch * batch].split(batch):
            loss = F.cross_entropy(model(random_affine(images[chosen], generator)), labels[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            ema.update(model)
            total += float(loss.detach())
        seconds = time.perf_counter() - started
        print(f"epoch {epoch + 1}/{args.epochs}: loss {total * batch / len(images):.4f}, {seconds:.0f} s", flush=True)

    figures: dict[str, object] = {
        "backbone": EMBEDDED_NAME,
        "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": args.epochs,
        "seed": args.seed,
        "seconds": round(time.perf_counter() - started),
    }
    for name in splits:
        figures[f"accuracy_{name}"] = round(accuracy(ema.module, *tensors[name]), 4)
    held_out = [torch.cat([tensors["choice"][i], tensors["report"][i]]) for i in (0, 1)]
    figures["accuracy_held_out"] = round(accuracy(ema.module, *held_out), 4)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    partial = args.out.with_suffix(".partial")
    save_file(ema.module.state_dict(), partial)
    partial.replace(args.out)
    for key, value in figures.items():
        print(f"{key}: {value}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
