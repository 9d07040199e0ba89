"""Trains a small multi-exit model in processes that kill themselves at five moments: `training_kill_worker.py OUT`.

Prints the exit status of each, and last that of a process that is let alone. Every process is a fork of this one, which
never trains, so torch is loaded once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from kill_worker import before_writing, die, forked
from small_data import small_digits
from small_training import TWO_STAGES, small_model

from exitsearch.learn.engine.train import train_model

torch.set_num_threads(1)


def train(out: Path, *, after_steps: int | None = None) -> None:
    steps = []

    def progress(share: float, words: str) -> None:
        steps.append(share)
        if len(steps) == after_steps:
            die()

    model = small_model()
    train_model(
        model,
        small_digits(model.backbone),
        recipe=TWO_STAGES,
        out=out,
        checkpoint_minutes=0,
        progress=progress,
    )


def main(out: Path) -> None:
    def killed(arm: Callable[[], None], **options: int) -> Callable[[], None]:
        def work() -> None:
            arm()
            train(out, **options)

        return work

    moments = [
        # Within the first epoch; between the best weights of the epoch and the state that names them.
        killed(lambda: None, after_steps=2),
        killed(before_writing("state.safetensors", 1)),
        # Between the state at the end of the second epoch and the record; in the second stage.
        killed(before_writing("training.json", 4)),
        killed(lambda: None, after_steps=2),
        # The model is written, and the record does not say so yet.
        killed(before_writing("chosen.json", 1)),
    ]
    for work in [*moments, lambda: train(out)]:
        print(forked(work), sorted(path.name for path in out.rglob("*") if path.is_file()), flush=True)


if __name__ == "__main__":
    os.environ.pop("RANK", None)
    main(Path(sys.argv[1]))
