"""What a training leaves in its folder: the model, its configuration, and nothing of what it needed on the way."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from exitsearch.learn.bank.checkpoint import save_tensors
from exitsearch.learn.engine.folder.log import LOG_FILE, TENSORBOARD_FOLDER
from exitsearch.learn.engine.folder.record import RECORD_FILE
from exitsearch.learn.engine.folder.state import CHECKPOINTS_FOLDER
from exitsearch.models.multi_exit import CONFIG_FILE, MODEL_FILE, MultiExitModel

# Heads that are trained before the stages, in the folder of what is needed on the way; or as the result itself.
HEADS_FIRST_FOLDER = "heads"
OUTCOMES_FOLDER = "outcomes"
DIFFICULTY_FILE = "difficulty.safetensors"


def clear(out: Path) -> None:
    """Remove what an earlier training wrote, and nothing else."""
    for name in (RECORD_FILE, MODEL_FILE, CONFIG_FILE, LOG_FILE):
        (out / name).unlink(missing_ok=True)
    for name in (CHECKPOINTS_FOLDER, TENSORBOARD_FOLDER, OUTCOMES_FOLDER):
        shutil.rmtree(out / name, ignore_errors=True)


def write_model(model: MultiExitModel, out: Path) -> None:
    """Write what `load_model` reads.

    Raises:
        FileError: it cannot be written.
        ExitSearchError: the disk is full.
    """
    model.config.write(out / CONFIG_FILE)
    save_tensors(out / MODEL_FILE, dict(model.state_dict()))


def weights_identity(out: Path) -> str:
    """Where a backbone's weights come from that was trained here, as `load_model` says it."""
    return f"file:{hashlib.sha256((out / MODEL_FILE).read_bytes()).hexdigest()[:16]}"


def drop_checkpoints(out: Path) -> None:
    """Remove what was needed on the way, once the result stands."""
    shutil.rmtree(out / CHECKPOINTS_FOLDER, ignore_errors=True)
    for path in out.glob(".*.partial"):
        path.unlink(missing_ok=True)
