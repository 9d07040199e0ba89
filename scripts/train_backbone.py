"""Train a backbone of timm's from scratch on any data that heads are trained on, and write its weights.

For data of which there are no pretrained weights: `--checkpoint FILE` gives them to every command. Muon for the
matrices of transformer blocks and AdamW for everything else, a cosine rate, and a moving average of the weights. A
regression learns standardised targets, and the weights that are written answer in the targets' own unit. The two
held-out splits take no part in any decision; what the final exit reaches on them is printed.

    python scripts/train_backbone.py --model test_vit --data counts --metric mae --in-chans 1 --image-size 64 \\
        --out counts.safetensors
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import figures
import torch
from safetensors.torch import save
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from exitsearch.errors import InputError
from exitsearch.learn.augment import augment, read_augmentations
from exitsearch.learn.data import DataSplits, Split, batches, data_outputs, load_data, shuffled
from exitsearch.learn.data.tiles import picture_labels, sum_batch, whole_batches
from exitsearch.learn.losses import fallback_score, metric_of, score, task_loss
from exitsearch.learn.targets import TargetScale, fold, start_at_centre
from exitsearch.models.backbone import Backbone, create_backbone
from exitsearch.specs.backbone import Task
from exitsearch.specs.document import write_bytes

# Rates and decay as for the packaged backbone (scripts/train_digits_backbone.py).
_MUON_RATE, _ADAM_RATE, _DECAY = 0.02, 2e-3, 0.05


def initialise(module: nn.Module) -> None:
    """Start matrices wider than timm does, whose 0.02 suits a width of 768 and lets a narrow model stand still."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)


def make_optimizers(module: nn.Module, *, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside blocks, AdamW for everything else.

    Args:
        module: is trained.
        rate: factor of both learning rates.
    """
    named = dict(module.named_parameters())
    matrices = {name: weight for name, weight in named.items() if "blocks." in name and weight.ndim == 2}
    others = [weight for name, weight in named.items() if name not in matrices]
    found: list[torch.optim.Optimizer] = [torch.optim.AdamW(others, lr=rate * _ADAM_RATE, weight_decay=_DECAY)]
    if matrices:
        found.append(torch.optim.Muon(matrices.values(), lr=rate * _MUON_RATE, weight_decay=_DECAY))
    return found


def train(backbone: Backbone, data: DataSplits, options: argparse.Namespace, *, augmentations: Sequence[str]) -> None:
    """Train a backbone in place, to the moving average of its weights, which answer in the targets' own unit."""
    module, scale = backbone.module, TargetScale.for_task(data.heads.labels, task=data.task)
    if scale is not None:
        start_at_centre(nn.ModuleList(backbone.final_classifier()))
    per_epoch = len(shuffled(len(data.heads), options.batch_size, seed=options.seed, epoch=0))
    optimizers = make_optimizers(module, rate=options.rate)
    steps = options.epochs * per_epoch
    schedules = [CosineLRScheduler(o, t_initial=steps, warmup_t=steps // 20, t_in_epochs=False) for o in optimizers]
    ema = ModelEmaV3(module, decay=0.995, use_warmup=True)
    started, done = time.perf_counter(), 0
    for epoch in range(options.epochs):
        module.train()
        order = shuffled(len(data.heads), options.batch_size, seed=options.seed, epoch=epoch)
        total = 0.0
        for step, (inputs, labels) in enumerate(batches(data.heads, order=order)):
            inputs = augment(inputs, augmentations, seed=options.seed, epoch=epoch, step=step)
            targets = labels if scale is None else scale.standardise(labels)
            loss = task_loss(module(inputs), targets, task=data.task)
            module.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            done += 1
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                schedule.step_update(done)
            ema.update(module)
            total += float(loss.detach())
        seconds = time.perf_counter() - started
        print(f"epoch {epoch + 1}/{options.epochs}: loss {total / len(order):.4f}, {seconds:.0f} s", flush=True)
    module.load_state_dict(ema.module.state_dict())
    if scale is not None:
        fold(nn.ModuleList(backbone.final_classifier()), scale)
    module.eval()


@torch.inference_mode()
def answers(backbone: Backbone, split: Split, *, batch_size: int) -> Tensor:
    """Outputs of the final exit [samples, num_outputs], of pictures where samples are tiles."""
    order = whole_batches(split, batch_size)
    read = zip(order, batches(split, order=order), strict=True)
    return torch.cat([sum_batch(backbone(inputs), split, batch) for batch, (inputs, _) in read])


def work(options: argparse.Namespace) -> int:
    if options.epochs < 1 or options.batch_size < 2 or options.rate <= 0:
        raise InputError(
            "--epochs must be 1 or more, --batch-size 2 or more, --rate above 0; found "
            f"{options.epochs}, {options.batch_size} and {options.rate:g}"
        )
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    augmentations = read_augmentations(options.augment)
    task: Task = "regression" if options.metric == "mae" else "classification"
    backbone = create_backbone(
        options.model,
        pretrained=False,
        num_outputs=data_outputs(options.data, task=task),
        image_size=options.image_size,
        in_chans=options.in_chans,
        task=task,
        seed=options.seed,
    )
    data = load_data(options.data, backbone=backbone)
    torch.manual_seed(options.seed)
    initialise(backbone.module)
    started = time.perf_counter()
    train(backbone, data, options, augmentations=augmentations)
    found: dict[str, object] = {
        "backbone": options.model,
        "parameters": sum(weight.numel() for weight in backbone.module.parameters()),
        "epochs": options.epochs,
        "samples": len(data.heads),
        "seed": options.seed,
        "seconds": round(time.perf_counter() - started),
    }
    metric = metric_of(data.task)
    for name in ("choice", "report"):
        split = data.split(name)
        outputs = answers(backbone, split, batch_size=options.batch_size)
        reached = score(outputs, picture_labels(split), task=data.task)
        found[f"{metric}_{name}"] = round(reached, 4)
        if metric == "mae":
            constant = fallback_score(picture_labels(data.heads), picture_labels(split), task=data.task)
            found[f"relative_error_{name}"] = round(reached / constant, 4) if constant else None
    write_bytes(options.out, save(backbone.module.state_dict()))
    figures.report(options, found)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    figures.add_option(parser, "--model", default=None, required=True)
    parser.add_argument("--data", required=True, metavar="D", help="as for train-heads")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="safetensors file to write")
    parser.add_argument("--metric", choices=("accuracy", "mae"), default="accuracy", help="default: accuracy")
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="side of the input")
    parser.add_argument("--in-chans", type=int, metavar="N", help="channels of the input")
    parser.add_argument("--epochs", type=int, default=20, metavar="N", help="default: 20")
    figures.add_option(parser, "--batch-size", default=32)
    parser.add_argument(
        "--rate", type=float, default=1.0, metavar="X", help="factor of the learning rates (default: 1)"
    )
    parser.add_argument("--augment", metavar="A,B", help="changes of training inputs: flip, specaugment")
    figures.add_options(parser, "--threads", "--seed")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
