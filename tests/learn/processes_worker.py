"""One of several processes that train a small bank together; `processes_worker.py JOB` prints what it did as JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from small_data import HEADS, PLACEMENTS, RECIPE, small_backbone, small_digits

from exitsearch.errors import ExitSearchError
from exitsearch.learn.bank import run
from exitsearch.learn.bank.processes import Processes
from exitsearch.learn.bank.train import train_bank


def poison(name: str) -> None:
    """Let a head begin with weights that are not numbers."""
    create = run.create_head

    def made(head: str, **options: Any) -> torch.nn.Module:
        module = create(head, **options)
        if f"{options['placement'].index}/{head}" == name:
            with torch.no_grad():
                next(module.parameters()).fill_(float("nan"))
        return module

    run.create_head = made


def main(job: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    processes = Processes.from_environment()
    trained: list[str] = []
    steps: list[float] = []
    notes: list[str] = []
    train = run.BankRun._train

    def watched(self: run.BankRun, trainer: run.HeadTrainer, **options: Any) -> None:
        trained.extend(trainee.key for trainee in trainer.trainees)
        train(self, trainer, **options)

    run.BankRun._train = watched  # type: ignore[method-assign]
    poison(job.get("poisoned", ""))
    kill = job.get("kill", {})

    def progress(share: float, words: str) -> None:
        steps.append(share)
        if processes.rank == kill.get("rank") and len(steps) == kill["step"]:
            os.kill(os.getpid(), signal.SIGKILL)

    backbone = small_backbone()
    outcomes = train_bank(
        backbone,
        small_digits(backbone),
        out=Path(job["out"]),
        exits=[(placement, head) for placement in PLACEMENTS for head in HEADS],
        recipe=RECIPE,
        seed=job.get("seed", 0),
        processes=processes,
        progress=progress,
        note=notes.append,
    )
    said = {
        "trained": trained,
        "steps": len(steps),
        "notes": notes,
        "values": {f"{placement}/{head}": value for (placement, head), value in outcomes.values().items()},
        "final": float(sum(parameter.double().sum() for parameter in backbone.module.head.parameters())),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except ExitSearchError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
