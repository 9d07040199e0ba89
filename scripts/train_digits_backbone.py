"""Train the embedded default backbone from scratch and write its packaged weights.

Trains `vit_digits_patch1_8` on the `heads` split of scikit-learn's digits with small random affine changes, keeps an
exponential moving average of the weights, and prints the accuracy on the two held-out splits, which took no part in
any decision (no early stopping, no selection among epochs).

    python scripts/train_digits_backbone.py            # about 8 minutes on two quiet CPU cores
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import figures
import small_vit
import timm
import torch
from safetensors.torch import save
from timm.models.vision_transformer import VisionTransformer

from exitsearch.errors import InputError
from exitsearch.learn.data.digits import digits_splits
from exitsearch.models.embedded import weights_file
from exitsearch.specs.backbone import EMBEDDED_NAME
from exitsearch.specs.document import write_bytes

BATCH = 32


def work(options: argparse.Namespace) -> int:
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    model = timm.create_model(EMBEDDED_NAME)
    assert isinstance(model, VisionTransformer)
    small_vit.initialise(model)
    splits = digits_splits()
    made_for = timm.get_pretrained_cfg(EMBEDDED_NAME)
    assert made_for is not None
    mean, std = made_for.mean[0], made_for.std[0]
    tensors: dict[str, small_vit.Tensors] = {
        name: (torch.from_numpy((split.images - mean) / std).float(), torch.from_numpy(split.labels))
        for name, split in splits.items()
    }
    images, labels = tensors["heads"]
    data = (images[: options.samples], labels[: options.samples])
    if len(data[0]) < BATCH:
        raise InputError(f"--samples must be {BATCH} or more, one batch; found {options.samples}")
    started = time.perf_counter()
    trained = small_vit.train(
        model, data, epochs=options.epochs, batch_size=BATCH, augment=small_vit.random_affine, generator=generator
    )
    found: dict[str, object] = {
        "backbone": EMBEDDED_NAME,
        "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": options.epochs,
        "samples": len(data[0]),
        "seed": options.seed,
        "seconds": round(time.perf_counter() - started),
    }
    rates = {name: small_vit.accuracy(trained, *split) for name, split in tensors.items()}
    found |= {f"accuracy_{name}": round(rate, 4) for name, rate in rates.items()}
    sizes = {name: len(tensors[name][1]) for name in ("choice", "report")}
    held_out = sum(rates[name] * size for name, size in sizes.items()) / sum(sizes.values())
    found["accuracy_held_out"] = round(held_out, 4)
    write_bytes(options.out, save(trained.state_dict()))
    figures.report(options, found)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument("--epochs", type=int, default=100, metavar="N", help="default: 100")
    parser.add_argument(
        "--samples", type=int, metavar="N", help=f"train on so many images, {BATCH} or more (default: all)"
    )
    figures.add_options(parser, "--seed")
    parser.add_argument("--out", type=Path, default=weights_file(EMBEDDED_NAME), metavar="FILE")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
