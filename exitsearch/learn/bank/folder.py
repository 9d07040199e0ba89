"""BankFolder: what stands finished in an outcomes folder, what is missing, and the record of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exitsearch.errors import ExitSearchError, MismatchError
from exitsearch.learn.answers import drop_answers
from exitsearch.learn.bank.checkpoint import CHECKPOINT_FILE, Checkpoint, drop_checkpoints
from exitsearch.learn.bank.trainee import FINAL, head_key, key_words, split_key
from exitsearch.models.multi_exit import HEADS_FOLDER
from exitsearch.specs.outcomes import DOCUMENT_NAME, DroppedHead, Outcomes

Pair = tuple[int, str]


@dataclass(frozen=True)
class BankFolder:
    """An outcomes folder, and what its heads are trained on and how.

    Attributes:
        path: the folder.
        identity: everything that a head's result depends on beside the head itself.
    """

    path: Path
    identity: dict[str, Any]

    def clear(self) -> None:
        """Remove what an earlier training wrote, and nothing else."""
        for name in (DOCUMENT_NAME, CHECKPOINT_FILE):
            (self.path / name).unlink(missing_ok=True)
        drop_answers(self.path)
        drop_checkpoints(self.path)
        for path in (*(self.path / HEADS_FOLDER).glob("*.safetensors"), *self.path.glob("outcomes-*.json")):
            path.unlink()

    def record(self) -> Checkpoint:
        """Which heads stand finished, and which were dropped.

        Raises:
            MismatchError: the folder holds a training of something else, or outcomes from elsewhere.
        """
        found = Checkpoint.load(self.path)
        written = (self.path / DOCUMENT_NAME).exists()
        if found is None:
            if written:
                raise MismatchError(
                    f"{self.path} holds outcomes that were not trained here ({CHECKPOINT_FILE} is missing); choose "
                    "another --out, or start afresh with --restart"
                )
            return self._record(heads=[], dropped={}, epoch=0, finished=False)
        found.check_same(self.identity, self.path)
        # Heads whose outcomes are lost stand no more.
        heads = found.standing if written else []
        return self._record(heads=heads, dropped=found.dropped, epoch=found.epoch, finished=found.finished)

    def _record(self, **fields: Any) -> Checkpoint:
        return Checkpoint(schema_version=Checkpoint.current_version, identity_of=self.identity, **fields)

    def write(self, record: Checkpoint, **changed: Any) -> None:
        """Write the record, with some of its fields changed."""
        record.model_copy(update=changed).write(self.path / CHECKPOINT_FILE)

    def missing(self, pairs: Iterable[Pair], record: Checkpoint) -> list[Pair]:
        """Those of some heads that neither stand finished nor were dropped, in their order."""
        known = {*record.standing, *record.dropped}
        return [pair for pair in pairs if head_key(*pair) not in known]

    def early_file(self, epoch: int) -> Path:
        """Where the scores after an epoch are kept."""
        return self.path / f"outcomes-{epoch}.json"


def check_some_left(pairs: Collection[Pair], standing: Collection[str], dropped: Mapping[str, str]) -> None:
    """Refuse to give outcomes where heads were asked for and all have been dropped.

    Raises:
        ExitSearchError: says why the first one was.
    """
    first = next((head_key(*pair) for pair in pairs if head_key(*pair) in dropped), None)
    if first is not None and not set(standing) - {FINAL}:
        raise ExitSearchError(
            f"no head is left: all {len(pairs)} have been dropped, the first of them {key_words(first)} because "
            f"{dropped[first]}; train with a lower learning rate, or other heads with --heads"
        )


def with_dropped(outcomes: Outcomes, dropped: Mapping[str, str]) -> Outcomes:
    """Outcomes that also name the heads that came to nothing."""
    found = [DroppedHead(placement=p, head=h, reason=dropped[head_key(p, h)]) for p, h in map(split_key, dropped)]
    return outcomes.model_copy(update={"dropped": sorted(found, key=lambda head: (head.placement, head.head))})
