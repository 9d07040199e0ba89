"""The no-exit tax: the multi-exit model without exits, forced to its end, over timm's own forward.

    python scripts/bench_tax.py --threads 1 --rounds 200 --json tax.json

Both run the same input in turn, in an order drawn anew each round, after a warm-up. Printed are the medians and the
median of the rounds' ratios with its 95% interval; the tax is 1 where both cost the same. A third line of the same
kind, timm's forward against itself, shows what the machine alone makes of a ratio of 1.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import figures
import timm
import torch

from exitsearch.measure.timing.statistics import median, median_interval
from exitsearch.models.backbone import create_backbone

MODELS = (
    "vit_small_patch16_224",
    "swin_tiny_patch4_window7_224",
    "levit_256",
    "resnet50",
    "convnext_tiny",
)
LIMIT = 1.02


def measure(name: str, *, rounds: int, warm_up: int, batch_size: int, device: str, seed: int) -> dict[str, Any]:
    """Interleaved times of the segments in turn, the model itself, and the model itself again."""
    backbone = create_backbone(name, pretrained=False, device=device)
    x = backbone.example_input(batch_size, generator=torch.Generator().manual_seed(seed))

    def parts() -> None:
        for _ in backbone.stream(x):
            pass

    def whole() -> None:
        backbone.module(x)

    ways: dict[str, Callable[[], None]] = {"parts": parts, "whole": whole, "again": whole}
    times: dict[str, list[float]] = {way: [] for way in ways}
    draw = random.Random(seed)
    with torch.inference_mode():
        for number in range(warm_up + rounds):
            order = list(ways)
            draw.shuffle(order)
            gc.collect(0)
            for way in order:
                if device.startswith("cuda"):
                    torch.cuda.synchronize()
                begin = time.perf_counter_ns()
                ways[way]()
                if device.startswith("cuda"):
                    torch.cuda.synchronize()
                if number >= warm_up:
                    times[way].append((time.perf_counter_ns() - begin) / 1e6)
    ratios = {
        way: [found / base for found, base in zip(times[way], times["whole"], strict=True)]
        for way in ("parts", "again")
    }
    return {
        "model": name,
        "placements": len(backbone.placements),
        "whole_ms": median(times["whole"]),
        "parts_ms": median(times["parts"]),
        "tax": median(ratios["parts"]),
        "interval": median_interval(ratios["parts"]),
        "self": median(ratios["again"]),
    }


def work(options: argparse.Namespace) -> int:
    torch.set_num_threads(options.threads)
    print(f"{options.device}, {options.threads} threads, batch {options.batch_size}, {options.rounds} rounds, fp32")
    table = figures.Table(
        {"model": "<32", "whole ms": "9.3f", "parts ms": "9.3f", "tax": "7.4f", "95% interval": "16", "self": "7.4f"}
    )
    rows = []
    for name in options.models:
        row = measure(
            name,
            rounds=options.rounds,
            warm_up=options.warm_up,
            batch_size=options.batch_size,
            device=options.device,
            seed=options.seed,
        )
        rows.append(row)
        interval = "{:.4f}..{:.4f}".format(*row["interval"]) if row["interval"] else None
        table.row(name, row["whole_ms"], row["parts_ms"], row["tax"], interval, row["self"])
    worst = max(rows, key=lambda row: float(row["tax"]))
    print(f"largest tax {worst['tax']:.4f} ({worst['model']}), limit {LIMIT}")
    condition = {
        "device": options.device,
        "threads": options.threads,
        "batch_size": options.batch_size,
        "rounds": options.rounds,
        "torch": torch.__version__,
        "timm": timm.__version__,
    }
    figures.write(options, {"condition": condition, "limit": LIMIT, "models": rows})
    return 0 if worst["tax"] <= LIMIT else 1


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="M")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--warm-up", type=int, default=10, help="rounds that are thrown away")
    figures.add_options(parser, "--batch-size", "--device", "--seed")
    figures.add_option(parser, "--threads", default=1, help="CPU threads")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
