"""Profile, train-heads and search from end to end over one small member of each family, and a module of one's own.

Every command runs as a user would call it, in a folder of its own, on real scans: some of scikit-learn's digits written
as PNG files. Weights are random (nothing can be downloaded everywhere), so the values say nothing; what is checked is
that the whole way runs and ends in a valid chosen.json with regret 0.

    OMP_NUM_THREADS=2 python scripts/check_workflow.py --json workflow.json      # about 8 minutes on two cores
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import figures
import numpy as np
from PIL import Image

from exitsearch.cli.main import main as exitsearch
from exitsearch.learn.data.digits import digits_splits

OWN_MODULE = Path(__file__).parents[1] / "examples" / "own_module.py"
MODELS = {
    "ViT": "vit_tiny_patch16_224",
    "Swin": "swin_tiny_patch4_window7_224",
    "LeViT": "levit_128s",
    "CrossViT": "crossvit_9_240",
    "ConvNeXt": "convnext_atto",
    "ResNet": "resnet18",
    "DenseNet": "densenet121",
    "EfficientNet": "efficientnet_b0",
    "MobileNet": "mobilenetv3_small_100",
    "own module": "my_net",
}
SAMPLES = {"train": ("heads", 80), "val": ("choice", 40), "test": ("report", 40)}


def write_images(folder: Path) -> None:
    """Some digits as `folder/<split>/<digit>/<number>.png`, every digit in every split."""
    for name, (source, count) in SAMPLES.items():
        split = digits_splits()[source]
        for digit in range(10):
            for number in np.flatnonzero(split.labels == digit)[: count // 10]:
                path = folder / name / str(digit) / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((split.images[number, 0] * 255).astype(np.uint8)).save(path)


def call(*argv: str) -> str:
    """Run one command; returns what it printed. Raises RuntimeError with its message when it fails."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = exitsearch(argv)
    if status != 0:
        raise RuntimeError(f"exitsearch {' '.join(argv)} ended with {status}: {err.getvalue().strip()}")
    return out.getvalue()


def whole_way(model: str) -> dict[str, Any]:
    """Profile, train-heads and search over one model in the current folder."""
    common = ["--model", model, "--heads", "linear,mlp_ee", "--placements", "every:25%"]
    if model == "my_net":
        common += ["--plugin", str(OWN_MODULE)]
    call("profile", *common, "--num-outputs", "10", "--max-seconds", "1", "--precision", "20%")
    call("train-heads", *common, "--data", "images", "--epochs", "1", "--no-pretrained")
    found = json.loads(
        call("search", *common, "--budget-dist", "uniform:10%,100%", "--trials", "20", "--no-guard", "--json")
    )
    call("check", "exitsearch-out")
    return {
        "exits": [f"{exit_['placement']} {exit_['head']}" for exit_ in found["config"]["exits"]],
        "value": found["value"],
        "regret": found["regret"],
    }


def go(model: str) -> dict[str, Any]:
    """The whole way of one model in a folder of its own: what it found, or the error that ended it."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write_images(Path("images"))
        try:
            row = {"model": model, **whole_way(model)}
        except RuntimeError as error:
            row = {"model": model, "error": str(error)}
    return {**row, "seconds": round(time.perf_counter() - started, 1)}


def work(options: argparse.Namespace) -> int:
    rows = {}
    for family in options.family:
        rows[family] = row = go(MODELS[family])
        words = row.get("error") or f"exits {', '.join(row['exits']) or 'none'}; regret {row['regret']:g}"
        print(f"{family:13} {row['model']:30} {row['seconds']:6} s  {words}", flush=True)
    figures.write(options, rows)
    failed = [family for family, row in rows.items() if "error" in row or row["regret"] != 0]
    print(f"{len(rows) - len(failed)} of {len(rows)} went the whole way")
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument("--family", nargs="*", choices=MODELS, default=list(MODELS))
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
