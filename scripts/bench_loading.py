"""Loading images: ours beside timm's own loader, in turns over the same files.

    python scripts/bench_loading.py [--images 512] [--workers 2] [--rounds 5] [--json FILE]

Both read a folder of made-up photographs of ImageNet's size (or `--data DIR`), resize, crop and normalise them as the
backbone's weights were trained, and give float batches on the CPU. timm's `create_loader` can do so in two ways: the
processes that read also normalise (`plain`), or they hand on bytes and the main process normalises (`prefetcher`); ours
is held against the faster of the two. One round is one pass of each, in an order that turns; processes are kept from
pass to pass on every side and the first pass of each is not counted. The batches of `plain` must be ours, bit for bit.

Exit status 1 when ours takes more than 5 percent longer by the median of the rounds' ratios, or batches differ.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import figures
import torch
from made_images import make_folder
from torch import Tensor

from exitsearch.errors import InputError
from exitsearch.learn.data import batches, in_order, load_data
from exitsearch.models.backbone import Backbone, create_backbone
from exitsearch.models.inputs import Batch, main_input

MUST_STAY_UNDER = 1.05
# Of the classes there need to be two; of splits three, of which one is read.
CLASSES = 4
FEW = 8

Batches = Iterable[tuple[Batch, Tensor]]


def timms(root: Path, backbone: Backbone, *, batch_size: int, workers: int, prefetcher: bool) -> Batches:
    """timm's own loader over a folder."""
    from timm.data.config import resolve_data_config
    from timm.data.dataset_factory import create_dataset
    from timm.data.loader import create_loader

    config = resolve_data_config(  # type: ignore[no-untyped-call]
        {"input_size": backbone.input_size}, pretrained_cfg=backbone.module.pretrained_cfg
    )
    made: Batches = create_loader(
        create_dataset("", root=str(root)),
        input_size=config["input_size"],
        batch_size=batch_size,
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        crop_pct=config["crop_pct"],
        crop_mode=config["crop_mode"],
        use_prefetcher=prefetcher,
        num_workers=workers,
        persistent_workers=workers > 0,
        device=torch.device("cpu"),
    )
    return made


def passed(read: Callable[[], Batches]) -> tuple[float, int]:
    """Seconds of a pass, and how many images came."""
    begun, count = time.perf_counter(), 0
    for images, _ in read():
        count += len(images)
    return time.perf_counter() - begun, count


def work(options: argparse.Namespace) -> int:
    if options.rounds < 1 or options.images < 2 * CLASSES:
        raise InputError(f"--rounds must be 1 or more and --images {2 * CLASSES} or more")
    with tempfile.TemporaryDirectory() as made:
        folder = options.data
        if folder is None:
            folder = Path(made)
            make_folder(folder, counts={"train": options.images, "val": FEW}, classes=CLASSES)
        return compare(folder, options)


def compare(folder: Path, options: argparse.Namespace) -> int:
    backbone = create_backbone(options.model, pretrained=False)
    data = load_data(f"folder:{folder}", backbone=backbone, workers=options.workers)
    order = in_order(len(data.heads), options.batch_size)
    root = folder / "train"
    sides: dict[str, Callable[[], Batches]] = {"ours": lambda: batches(data.heads, order=order)}
    for name, prefetcher in (("plain", False), ("prefetcher", True)):
        loader = timms(root, backbone, batch_size=options.batch_size, workers=options.workers, prefetcher=prefetcher)
        sides[name] = lambda loader=loader: loader  # type: ignore[misc]
    same = all(
        torch.equal(main_input(own[0]), main_input(other[0])) and torch.equal(own[1], other[1])
        for own, other in zip(sides["ours"](), sides["plain"](), strict=True)
    )
    passed(sides["prefetcher"])  # the others have had their first pass
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(options.rounds):
        names = list(sides)
        for name in names[number % 3 :] + names[: number % 3]:
            took, count = passed(sides[name])
            assert count == len(data.heads)
            seconds[name].append(took)
    data.close()
    table = figures.Table({"loader": "<11", "images/s": "9.1f", "ours over it": "13.3f"})
    rows: list[dict[str, Any]] = []
    for name, found in seconds.items():
        ratio = statistics.median(own / other for own, other in zip(seconds["ours"], found, strict=True))
        rows.append({"loader": name, "images_per_second": len(data.heads) / statistics.median(found), "ratio": ratio})
        table.row(*rows[-1].values())
    slowest = max(row["ratio"] for row in rows)
    print(f"batches {'equal' if same else 'DIFFER'}; ours takes {slowest:.3f} times the faster of timm's two")
    figures.write(options, {"loaders": rows, "equal": same, "rounds_seconds": seconds, "images": len(data.heads)})
    return 1 if slowest > MUST_STAY_UNDER or not same else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    figures.add_option(parser, "--model", default="vit_base_patch16_224")
    figures.add_option(parser, "--batch-size", default=32)
    parser.add_argument("--data", type=Path, metavar="DIR", help="with train/<class>/ and val/<class>/ (default: made)")
    parser.add_argument("--images", type=int, default=512, metavar="N", help="that are made (default: 512)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes that read (default: 2)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="passes of each (default: 5)")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
