"""Trains a small bank in processes that kill themselves at five moments, and once to the end: `kill_worker.py OUT`.

Prints the exit status of each. Every process is a fork of this one, which never trains, so torch is loaded once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from small_data import HEADS, PLACEMENTS, RECIPE, small_backbone, small_digits

from exitsearch.learn.bank.train import train_bank

torch.set_num_threads(1)
replace = os.replace


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before_writing(name: str, time: int) -> Callable[[], None]:
    """Die where the file of a name is to be put in its place for the nth time: what is written has another name yet."""
    seen = []

    def arm() -> None:
        def replaced(source: str, target: str) -> None:
            if str(target).endswith(name):
                seen.append(target)
                if len(seen) == time:
                    die()
            replace(source, target)

        os.replace = replaced  # type: ignore[assignment]

    return arm


def train(out: Path, *, after_steps: int | None = None) -> None:
    steps = []

    def progress(share: float, words: str) -> None:
        steps.append(share)
        if len(steps) == after_steps:
            die()

    backbone = small_backbone()
    train_bank(
        backbone,
        small_digits(backbone),
        out=out,
        exits=[(placement, head) for placement in PLACEMENTS for head in HEADS],
        recipe=RECIPE,
        checkpoint_minutes=0,
        progress=progress,
    )


def forked(work: Callable[[], None]) -> int:
    """The exit status of a process that does some work; minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(out: Path) -> None:
    # In the first epoch; between the checkpoints of two heads; after three steps of what is left; between the answers
    # of two heads; between the outcomes and the record that says that they stand.
    def killed(arm: Callable[[], None], **options: int) -> Callable[[], None]:
        def work() -> None:
            arm()
            train(out, **options)

        return work

    moments = [
        killed(lambda: None, after_steps=2),
        killed(before_writing("4__linear.safetensors", 1)),
        killed(lambda: None, after_steps=2),
        killed(before_writing("report/4__linear.safetensors", 1)),
        killed(before_writing("training.json", 2)),
    ]
    for work in [*moments, lambda: train(out)]:
        print(forked(work), sorted(path.name for path in out.iterdir()), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
