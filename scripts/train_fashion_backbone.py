"""Train the embedded backbone for Fashion-MNIST from scratch and write its packaged weights.

Trains `vit_fashion_patch4_28` on the first 48,000 of the 60,000 training photographs (mirrored, shifted by up to a
pixel, scaled by up to 5%), keeps an exponential moving average of the weights, and prints the accuracy on the other
12,000 (`choice`) and on the official 10,000 test photographs (`report`). Neither takes part in any decision.

    mkdir -p data/FashionMNIST/raw             # the four files of github.com/zalandoresearch/fashion-mnist, unpacked:
    for file in /usr/share/datasets/fashion-mnist/*.gz; do      # as Debian's package dataset-fashion-mnist has them
        gunzip -c "$file" > data/FashionMNIST/raw/$(basename "${file%.gz}"); done
    python scripts/train_fashion_backbone.py --data-dir data    # about an hour on one CPU core
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import figures
import small_vit
import timm
import torch
from safetensors.torch import save
from timm.models.vision_transformer import VisionTransformer
from torchvision.datasets import FashionMNIST

from exitsearch.allocator import keep_freed_memory
from exitsearch.errors import InputError
from exitsearch.learn.bank.denormals import denormals_flushed
from exitsearch.models.embedded import weights_file
from exitsearch.specs.backbone import FASHION_NAME
from exitsearch.specs.document import write_bytes

BATCH = 128
# The first so many of the training photographs are learnt from, the others are the `choice` split.
TRAINED_ON = 48_000


def read(folder: Path, *, train: bool, mean: float, std: float) -> small_vit.Tensors:
    """Normalised photographs [count, 1, 28, 28] and classes [count] of a part of the data set."""
    try:
        data = FashionMNIST(str(folder), train=train)
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"--data-dir needs the unpacked files of Fashion-MNIST in FashionMNIST/raw, not found in {folder} ({error})"
        ) from None
    return (data.data[:, None].float() / 255 - mean) / std, data.targets


def work(options: argparse.Namespace) -> int:
    torch.manual_seed(options.seed)
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_freed_memory()
    generator = torch.Generator().manual_seed(options.seed)
    model = timm.create_model(FASHION_NAME)
    assert isinstance(model, VisionTransformer)
    small_vit.initialise(model)
    made_for = timm.get_pretrained_cfg(FASHION_NAME)
    assert made_for is not None
    normalised = {"mean": made_for.mean[0], "std": made_for.std[0]}
    images, labels = read(options.data_dir, train=True, **normalised)
    held_out = {
        "choice": (images[TRAINED_ON:], labels[TRAINED_ON:]),
        "report": read(options.data_dir, train=False, **normalised),
    }
    samples = min(options.samples or TRAINED_ON, TRAINED_ON)
    if samples < BATCH:
        raise InputError(f"--samples must be {BATCH} or more, one batch; found {options.samples}")
    started = time.perf_counter()
    with denormals_flushed():
        trained = small_vit.train(
            model,
            (images[:samples], labels[:samples]),
            epochs=options.epochs,
            batch_size=BATCH,
            augment=partial(small_vit.random_affine, degrees=0, scale=0.05, pixels=1, flip=True),
            generator=generator,
        )
    found: dict[str, object] = {
        "backbone": FASHION_NAME,
        "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": options.epochs,
        "samples": samples,
        "seed": options.seed,
        "seconds": round(time.perf_counter() - started),
    }
    found |= {f"accuracy_{name}": round(small_vit.accuracy(trained, *split), 4) for name, split in held_out.items()}
    write_bytes(options.out, save(trained.state_dict()))
    figures.report(options, found)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), metavar="DIR", help="default: data")
    parser.add_argument("--epochs", type=int, default=9, metavar="N", help="default: 9")
    parser.add_argument(
        "--samples",
        type=int,
        metavar="N",
        help=f"photographs to train on, {BATCH} or more (default: {TRAINED_ON})",
    )
    figures.add_options(parser, "--threads", "--seed")
    parser.add_argument("--out", type=Path, default=weights_file(FASHION_NAME), metavar="FILE")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
