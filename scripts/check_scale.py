"""ImageNet's size: what a training of all heads would take, and 100 real steps over made-up photographs.

    python scripts/check_scale.py [--model vit_base_patch16_224] [--heads A,B] [--steps 100] [--json FILE]

Makes a folder of ImageNet's layout with images of its usual size, a few of them (`--images`), and measures:

- `listed`: seconds and bytes of a list of as many files as ImageNet has (1,281,167 and 50,000);
- what `train-heads --dry-run` finds, said for ImageNet's numbers of samples (25,000 for each of the held-out splits);
- real steps: how many images a second, and the peak of the memory beside weights, gradients and Adam's moments. Of the
  processes that read, what only they hold is counted too.

Exit status 1 when that memory is above 4 GiB. What the answers of the held-out splits need is measured elsewhere.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import figures
import torch
from made_images import make_folder
from torch import nn

from exitsearch.errors import InputError
from exitsearch.learn.bank.recipe import HeadRecipe, get_head_recipe
from exitsearch.learn.bank.trainer import HeadTrainer
from exitsearch.learn.data import DataSplits, load_data, shuffled
from exitsearch.learn.data.images import Paths
from exitsearch.learn.estimate import estimate_training
from exitsearch.learn.memory import peak_bytes, watch_peak
from exitsearch.models.backbone import Backbone, create_backbone
from exitsearch.models.heads import create_head, fitting_exits
from exitsearch.report.terminal.durations import duration, size
from exitsearch.report.terminal.estimate import estimate_summary
from exitsearch.specs.question.candidates import Candidates, Pair

IMAGENET = {"heads": 1_281_167, "choice": 25_000, "report": 25_000}
MOST_BYTES = 4 * 2**30
CPU = torch.device("cpu")


def listed(count: int) -> dict[str, Any]:
    """Time and memory of the paths of so many files in ImageNet's way of naming."""
    before, begun = watch_peak(CPU), time.perf_counter()
    names = (f"train/n{number % 1000:08d}/n{number % 1000:08d}_{number}.JPEG" for number in range(count))
    paths = Paths(Path("/somewhere/imagenet"), names)
    took, peak = time.perf_counter() - begun, peak_bytes(CPU)
    assert len(paths) == count
    kept = paths.nbytes
    return {"files": count, "seconds": took, "kept_bytes": kept, "peak_bytes": peak and before and peak - before}


def own_bytes_of_children() -> int:
    """What the processes that read hold and share with nobody."""
    total = 0
    for child in multiprocessing.active_children():
        try:
            lines = Path(f"/proc/{child.pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))
    return total


def real_steps(
    backbone: Backbone, data: DataSplits, exits: list[Pair], recipe: HeadRecipe, steps: int, before: int | None
) -> dict[str, Any]:
    """Train for so many steps; returns speed and memory, the latter above what was held `before`."""
    heads: dict[Pair, nn.Module] = {
        (place, head): create_head(head, placement=backbone.placements[place], num_outputs=backbone.num_outputs)
        for place, head in exits
    }
    trainer = HeadTrainer(backbone, heads, recipe, seed=0, device=CPU)
    epochs = -(-steps * recipe.batch_size // len(data.heads))
    order = [
        batch for epoch in range(epochs) for batch in shuffled(len(data.heads), recipe.batch_size, seed=0, epoch=epoch)
    ][:steps]
    ends: list[float] = []
    children: list[int] = []

    def after(step: int) -> None:
        ends.append(time.perf_counter())
        if step in (1, steps):
            children.append(own_bytes_of_children())

    begun = time.perf_counter()
    loss = trainer.train_epoch(data.heads, epoch=0, order=order, after_step=after)
    peak = peak_bytes(CPU)
    trained = sum(4 * p.numel() for trainee in trainer.trainees for p in trainee.module.parameters() if p.requires_grad)
    beside = None if peak is None or before is None else peak - before - 4 * trained + max(children)
    return {
        "steps": len(ends),
        "seconds": ends[-1] - begun,
        "images_per_second": sum(map(len, order[1:])) / (ends[-1] - ends[0]) if len(ends) > 1 else None,
        "loss": loss,
        "weights_and_optimizer_bytes": 4 * trained,
        "readers_bytes": max(children),
        "beside_bytes": beside,
    }


def work(options: argparse.Namespace) -> int:
    if options.steps < 2 or options.images < 10:
        raise InputError("--steps must be 2 or more and --images 10 or more")
    files = {name: listed(count) for name, count in (("train", options.listed), ("val", options.listed // 25))}
    print(f"a list of {files['train']['files']:,} files: {duration(files['train']['seconds'])}, "
          f"{size(files['train']['kept_bytes'])} kept")  # fmt: skip
    with tempfile.TemporaryDirectory() as made:
        counts = {"train": options.images, "val": max(4, options.images // 5)}
        mean = make_folder(Path(made), counts=counts, classes=options.classes)
        print(f"{options.images:,} images of 500 x 375, {size(mean)} each")
        backbone = create_backbone(options.model, pretrained=False, num_outputs=options.classes)
        data = load_data(made, backbone=backbone, workers=options.workers)
        recipe = get_head_recipe("frozen", batch_size=options.batch_size)
        exits = list(fitting_exits(backbone.placements, Candidates.of(heads=options.heads, placements=None)))
        # From before the dry run: what it held and let go of would be used again and not be seen.
        before = watch_peak(CPU)
        found = estimate_training(backbone, data, exits=exits, recipe=recipe)
        whole = dataclasses.replace(found, samples=IMAGENET)
        print(f"{len(exits)} heads at ImageNet's size: a step {duration(whole.step_seconds)}, an epoch "
              f"{duration(whole.epoch_seconds)}, in all {duration(whole.total_seconds)}; memory "
              f"{size(whole.memory_bytes)}, checkpoint {size(whole.checkpoint_bytes)}, answers "
              f"{size(whole.answer_bytes)}")  # fmt: skip
        steps = real_steps(backbone, data, exits, recipe, options.steps, before)
        data.close()
    beside = steps["beside_bytes"]
    print(f"{steps['steps']} steps of {recipe.batch_size}: {duration(steps['seconds'])}, "
          f"{steps['images_per_second']:.1f} images/s; memory beside weights and optimiser "
          f"{'unknown' if beside is None else size(beside)}, of it {size(steps['readers_bytes'])} in "
          f"{found.workers} processes that read")  # fmt: skip
    figures.write(
        options,
        {
            "listed": files,
            "estimate": estimate_summary(whole),
            "real": steps,
            "exits": len(exits),
            "must_stay_under_bytes": MOST_BYTES,
        },
    )
    return 1 if beside is not None and beside > MOST_BYTES else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    figures.add_option(parser, "--model", default="vit_base_patch16_224")
    figures.add_option(parser, "--batch-size", default=32)
    figures.add_options(parser, "--heads")
    parser.add_argument("--images", type=int, default=2000, metavar="N", help="that are made (default: 2000)")
    parser.add_argument("--classes", type=int, default=1000, metavar="N", help="of them (default: 1000)")
    parser.add_argument("--steps", type=int, default=100, metavar="N", help="that are real (default: 100)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that read (default: one a core)")
    parser.add_argument("--listed", type=int, default=IMAGENET["heads"], metavar="N", help="files in the list")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
