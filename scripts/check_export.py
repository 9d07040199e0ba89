"""One model of each of ten families of timm: exported with exits on the way, every exit compared with torch, and timed.

    python scripts/check_export.py                                     # ten families, about 10 minutes on a free core
    python scripts/check_export.py --model resnet50 vit_small_patch16_224 --image-size 224 --json export.json

Prints, for each model, the largest difference of any exit's outputs from torch in fp32 over random inputs (random
weights, outputs of about 1, batches of 1 and 3), the time of its segments one after the other over that of the plain
backbone as one graph in the same engine (chain), the same with every head run (tax), and predicted over measured time
of the answer that is predicted worst (path). Times are of one run, interleaved; the verdict says whether they can be
believed. Exit status 1 when a model cannot be exported or an exit differs by more than is allowed; times decide
nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import figures

from exitsearch.errors import ExitSearchError, InputError

# Model and input side of each family; None where the family does not take another than its own.
FAMILIES: dict[str, tuple[str, int | None]] = {
    "resnet": ("resnet18", 64),
    "regnet": ("regnetx_002", 64),
    "mobilenetv3": ("mobilenetv3_small_100", 64),
    "convnext": ("convnext_atto", 64),
    "metaformer": ("poolformer_s12", 64),
    "efficientnet": ("efficientnet_b0", 64),
    "mlp_mixer": ("mixer_s32_224", None),
    "vision_transformer": ("vit_tiny_patch16_224", 96),
    "swin_transformer": ("swin_tiny_patch4_window7_224", 112),
    "densenet": ("densenet121", 64),
}
_COLUMNS = {
    "model": "<30", "side": "5", "exits": "<9", "difference": "11", "chain": "6", "tax": "6", "path": "6",
    "verdict": "<8", "MB": "7", "s": "6",
}  # fmt: skip


def check(name: str, side: int | None, *, exits: int, options: argparse.Namespace) -> dict[str, Any]:
    """Export one model into a folder that goes again."""
    import torch

    from exitsearch.deploy.export import Knowledge, export_bundle
    from exitsearch.models.backbone import create_backbone
    from exitsearch.models.multi_exit import attach_exits

    begin = time.perf_counter()
    row: dict[str, Any] = {"model": name, "side": side, "exits": [], "difference": None, "reason": ""}
    torch.set_num_threads(options.threads)
    try:
        backbone = create_backbone(name, pretrained=False, image_size=side)
        row["side"] = backbone.input_size[1]
        row["exits"] = spread(len(backbone.placements), exits)
        model = attach_exits(backbone, config=configuration(backbone, row["exits"], options.head), seed=options.seed)
        wake_final_exit(model)
        with torch.inference_mode():
            row["largest_output"] = min(float(o.abs().max()) for o in model(model.backbone.example_input(4)))
        with tempfile.TemporaryDirectory() as folder:
            made = export_bundle(
                model,
                out=Path(folder) / "bundle",
                knowledge=Knowledge(values=[0.0] * (exits + 1), values_from="nowhere: the weights are random"),
                precision=options.precision,
                threads=options.threads,
                max_seconds=options.max_seconds,
                seed=options.seed,
            )
        row["differences"] = [exit_.largest_difference for exit_ in made.bundle.agreement]
        row["difference"] = max(row["differences"])
        facts = made.bundle.profile["latency"]
        row |= {key: facts[key] for key in ("chain_over_whole", "no_exit_tax", "whole_ms", "predicted_over_measured")}
        row["path"] = max(facts["predicted_over_measured"], key=lambda ratio: abs(ratio - 1))
        row["verdict"], row["state"] = facts["verdict"]["status"], facts["state"]
        row["bytes"] = sum(file.bytes for file in made.bundle.files.values())
    except ExitSearchError as error:
        row["reason"] = str(error)
    row["seconds"] = round(time.perf_counter() - begin, 1)
    return row


def wake_final_exit(model: Any) -> None:
    """Let the final exit answer with numbers of about 1.

    Untrained, some models answer 0 to everything, or nearly so, and every difference would be small.
    """
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(0)
    x = model.backbone.example_input(4, generator=generator)
    with torch.no_grad():
        for part in model.backbone.final_classifier():
            if isinstance(part, nn.Linear | nn.Conv2d):
                part.weight.copy_(torch.randn(part.weight.shape, generator=generator))
        for _ in range(2):  # a bias that was large beside the rest is small then
            size = float(model.backbone(x).std())
            for part in model.backbone.final_classifier():
                for parameter in part.parameters():
                    parameter.div_(size)


def spread(placements: int, exits: int) -> list[int]:
    """Placements that part a backbone into about equal pieces."""
    if placements < exits + 1:
        raise InputError(f"{exits} exits need {exits + 1} placements, found {placements}; give fewer with --exits")
    return [round(placements * (number + 1) / (exits + 1)) - 1 for number in range(exits)]


def configuration(backbone: Any, placements: Sequence[int], head: str) -> Any:
    """A configuration that nobody has searched."""
    from exitsearch.specs.config import MultiExitConfig

    count = len(placements) + 1
    return MultiExitConfig.model_validate(
        {
            "schema_version": 1,
            "backbone": backbone.facts.model_dump(),
            "exits": [{"placement": placement, "head": head} for placement in placements],
            "policy": "interruptible",
            "budget": "uniform:10%,100%",
            "expected": {"value": 0.0, "metric": "accuracy", "policy": "interruptible", "split": "none"},
            "optimum": {"value": 0.0, "exact": False, "regret": 0.0},
            "latency_ms": [0.0] * count,
            "profile": {},
            "outcomes": {},
        }
    )


def work(options: argparse.Namespace) -> int:
    models = [(name, options.image_size) for name in options.model] or list(FAMILIES.values())
    table, rows = figures.Table(_COLUMNS), []
    for name, side in models:
        row = check(name, side, exits=options.exits, options=options)
        rows.append(row)
        table.row(
            row["model"],
            row["side"],
            ",".join(map(str, row["exits"])),
            None if row["difference"] is None else f"{row['difference']:.1e}",
            *(row.get(key) and f"{row[key]:.3f}" for key in ("chain_over_whole", "no_exit_tax", "path")),
            row.get("verdict"),
            row.get("bytes") and f"{row['bytes'] / 1e6:.1f}",
            row["seconds"],
        )
        if row["reason"]:
            print(f"    {row['reason']}", flush=True)
    done = sum(row["difference"] is not None for row in rows)
    load = " ".join(f"{number:.1f}" for number in os.getloadavg())
    print(f"{done} of {len(rows)} models exported, every exit within the tolerance; load average {load}")
    figures.write(options, {"exported": done, "load_average": os.getloadavg(), "models": rows})
    return 0 if done == len(rows) else 1


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument("--model", nargs="+", default=[], metavar="M", help="timm's names (default: ten families)")
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="input side for --model (default: its own)")
    parser.add_argument("--exits", type=int, default=2, metavar="N", help="exits of each model, evenly spread")
    parser.add_argument("--head", default="linear", metavar="H", help="head type of every exit")
    parser.add_argument(
        "--precision", default="fp32", help="fp32, fp16 or int8; differences are refused for fp32 alone"
    )
    figures.add_option(parser, "--threads", default=1, help="CPU threads")
    figures.add_option(parser, "--max-seconds", default=10.0, help="for measuring each model")
    figures.add_options(parser, "--seed")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
