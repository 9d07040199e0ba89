"""One of several processes that train a tiny model together: `training_processes_worker.py OUT RECIPE`, by torchrun.

Every process says with what model and scores it ends.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from small_training import recipe, stage, tiny_data, tiny_model

from exitsearch.learn.engine.folder.record import module_digest
from exitsearch.learn.engine.train import train_model

# Nothing in it is drawn but the order, and no batch norm tells a share of a batch from the whole.
PLAIN = recipe(stage(trains="heads", optimizer="sgd", learning_rate=0.1, epochs=2, batch_size=12))
WHOLE = recipe(
    stage("all", epochs=6, learning_rate=2e-2, mixup=0.2, ema=0.9, clip_grad=1.0, batch_size=12),
    stage("heads", trains="heads", loss="distill", teacher="final", epochs=2, learning_rate=1e-2, batch_size=12),
)


def main(out: Path, name: str) -> None:
    torch.set_num_threads(1)
    model = tiny_model()
    until = int(os.environ["UNTIL"]) if "UNTIL" in os.environ else None
    asked = {"plain": PLAIN, "whole": WHOLE}[name]
    found = train_model(model, tiny_data(), recipe=asked, out=out, until=until)
    said = {"digest": module_digest(model), "scores": found.scores, "finished": found.finished}
    # One write a line: the processes share a pipe.
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
