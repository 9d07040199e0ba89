"""Outcomes of heads that have just been trained, joined with those of the heads that stand in the folder already."""

from __future__ import annotations

import shutil
from pathlib import Path

from exitsearch.learn.checkpoint import save_tensors
from exitsearch.learn.data import DataSplits
from exitsearch.learn.scored import HELD_OUT, scored
from exitsearch.learn.trainer import HeadTrainer
from exitsearch.models.multi_exit import read_tensors
from exitsearch.specs.outcomes import DOCUMENT_NAME, Outcomes

# Answers of new heads, until those of all heads are in one file.
_STAGING = "answers.partial"


def write_joined_answers(trainer: HeadTrainer, data: DataSplits, out: Path) -> Outcomes:
    """Write what the heads of a trainer answer beside what stands in the folder.

    Args:
        trainer: heads that do not stand in the folder yet.
        data: its held-out splits are answered.
        out: the outcomes folder. Its document is not written: whoever does so does it last.

    Returns:
        The outcomes of all heads.

    Raises:
        NotFiniteError: an answer that is not finite; names the head.
    """
    if not (out / DOCUMENT_NAME).exists():
        return scored(trainer, data, samples=out)
    staging = out / _STAGING
    shutil.rmtree(staging, ignore_errors=True)
    try:
        found = scored(trainer, data, samples=staging)
        for split in HELD_OUT:
            name = f"{split}.safetensors"
            # Labels and the final exit's answers are the same in both.
            save_tensors(out / name, {**read_tensors(staging / name), **read_tensors(out / name)})
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return joined(Outcomes.load(out), found)


def joined(earlier: Outcomes, later: Outcomes) -> Outcomes:
    """The heads of two documents in one, and the rest of the later one; of a head in both, the earlier outcome."""
    known = {(head.placement, head.head) for head in earlier.heads}
    heads = [*earlier.heads, *(head for head in later.heads if (head.placement, head.head) not in known)]
    return later.model_copy(update={"heads": sorted(heads, key=lambda head: head.placement)})
