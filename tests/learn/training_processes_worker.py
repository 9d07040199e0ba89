"""One of several processes that train a small model together: `training_processes_worker.py OUT`, started by torchrun.

Every process prints the digest of the model that it ends with, and what it was handed back.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from small_data import small_digits
from small_training import TWO_STAGES, small_model

from exitsearch.learn.engine.record import module_digest
from exitsearch.learn.engine.train import train_model

torch.set_num_threads(1)


def main(out: Path) -> None:
    model = small_model()
    until = int(os.environ["UNTIL"]) if "UNTIL" in os.environ else None
    found = train_model(model, small_digits(model.backbone), recipe=TWO_STAGES, out=out, until=until)
    said = {"digest": module_digest(model), "scores": found.scores, "finished": found.finished}
    # One write a line: the processes share a pipe.
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
