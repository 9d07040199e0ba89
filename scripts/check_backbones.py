"""Every module of timm: cut its smallest model after its blocks and compare with timm's own forward, bit for bit.

    python scripts/check_backbones.py                        # all 98, about 15 minutes on one core
    python scripts/check_backbones.py --family swin_transformer levit --json backbones.json

Prints, for each module, placements found, whether they stand after blocks or only after stages (with the reason), and
whether running the segments in turn gives the same bits (eval, fp32, CPU, random weights, one random input). A model
that cannot be cut or differs is printed with the reason; none is skipped. Exit status 1 when one differs or fails.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from typing import Any

import figures
import timm
import torch

from exitsearch.errors import ExitSearchError, InputError
from exitsearch.models.backbone import Segment, create_backbone

# Blocks that run side by side make one block of several branches; all other reasons leave a stage.
BRANCHES = "it is one of several branches side by side"


def smallest_model(family: str) -> str:
    """The model with the fewest parameters of a timm module, its tiny test models left out."""
    sizes: dict[str, int] = {}
    reasons: list[str] = []
    for name in timm.list_models(module=family):
        if name.startswith("test_"):
            continue
        try:
            with torch.device("meta"):
                model = timm.create_model(name)
        except Exception as error:  # a model that timm itself cannot make is no candidate; shown when none is left
            reasons.append(f"{name}: {error}")
            continue
        sizes[name] = sum(parameter.numel() for parameter in model.parameters())
    if not sizes:
        raise LookupError(f"timm can make no model of {family}: {'; '.join(reasons[:2])}")
    return min(sizes, key=lambda name: sizes[name])


def check(family: str, *, threads: int) -> dict[str, Any]:
    """Cut the smallest model of a family and compare."""
    torch.set_num_threads(threads)
    row: dict[str, Any] = {"family": family, "model": None, "placements": 0, "level": None, "equal": None, "reason": ""}
    begin = time.perf_counter()
    try:
        row["model"] = smallest_model(family)
        backbone = create_backbone(row["model"], pretrained=False)
        x = backbone.example_input(generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            whole = backbone.module(x)
            *_, final = backbone.stream(x)
        row["equal"] = torch.equal(whole, final)
        segment = backbone.segments[0]
        assert isinstance(segment, Segment)
        stages = {
            placement.module: segment.cut.coarse[placement.module]
            for placement in backbone.placements
            if BRANCHES not in segment.cut.coarse.get(placement.module, BRANCHES)
        }
        row["placements"] = len(backbone.placements)
        row["stages"] = len(stages)
        row["level"] = "block" if 2 * len(stages) < len(backbone.placements) else "stage"
        row["reason"] = "; ".join(f"{module}: {why}" for module, why in list(stages.items())[:1])
        row["carried"] = max(len(placement.carried) for placement in backbone.placements)
    except ExitSearchError as error:
        row["reason"] = str(error)
    except Exception as error:
        row["reason"] = f"{type(error).__name__}: {error}"
    row["seconds"] = round(time.perf_counter() - begin, 2)
    gc.collect()
    return row


def work(options: argparse.Namespace) -> int:
    known = timm.list_modules()
    strange = sorted(set(options.family or ()) - set(known))
    if strange:
        raise InputError(f"timm has no module {', '.join(strange)}; it has {', '.join(known)}")
    rows = []
    table = figures.Table(
        {"module": "<28", "smallest model": "<40", "placements": "10", "level": "6", "equal": "6", "carried": "8",
         "s": "6"}
    )  # fmt: skip
    for family in options.family or known:
        row = check(family, threads=options.threads)
        rows.append(row)
        table.row(
            family, row["model"], row["placements"], row["level"], row["equal"], row.get("carried", 0), row["seconds"]
        )
        if row["reason"]:
            print(f"    {row['reason']}", flush=True)
    equal = sum(row["equal"] is True for row in rows)
    blocks = sum(row["equal"] is True and row["level"] == "block" for row in rows)
    print(f"{len(rows)} modules: {equal} equal bit for bit, {blocks} of them at block level")
    figures.write(options, {"equal": equal, "block_level": blocks, "modules": rows})
    return 0 if equal == len(rows) else 1


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument("--family", nargs="+", metavar="F", help="timm modules (default: all)")
    figures.add_option(parser, "--threads", default=1, help="CPU threads")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
