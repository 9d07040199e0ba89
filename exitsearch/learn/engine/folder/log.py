"""The log of a training: `log.csv`, and events for TensorBoard where they are asked for.

The table is written anew, whole, whenever a row is added: a kill never leaves half a row, and a training that goes on
from a checkpoint leaves no row twice.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from exitsearch.errors import UnavailableError
from exitsearch.specs.document import write_text

LOG_FILE = "log.csv"
TENSORBOARD_FOLDER = "tensorboard"

# Columns that every row has; behind them stand the terms of the losses and the scores of the exits.
FIRST = ("stage", "epoch", "step", "learning_rate", "loss")
LAST = ("value", "seconds")


def log_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as a CSV table; what a row does not have is empty in it.

    >>> print(log_table([{"stage": "joint", "epoch": 1, "final": 0.5}, {"stage": "joint", "value": 1}]), end="")
    stage,epoch,step,learning_rate,loss,final,value,seconds
    joint,1,,,,0.5,,
    joint,,,,,,1,
    """
    rows = list(rows)
    between = dict.fromkeys(key for row in rows for key in row if key not in FIRST + LAST)
    scores = [key for key in between if key.startswith("choice ")]
    terms = [key for key in between if key not in scores]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*FIRST, *terms, *scores, *LAST], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


class Log:
    """Where the rows of a training are written.

    Args:
        folder: of the training.
        tensorboard: whether to write events too.
        behind: steps that are behind when it begins; events of later ones, of a run that was killed, count no more.

    Raises:
        UnavailableError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, *, tensorboard: bool, behind: int) -> None:
        self._path = folder / LOG_FILE
        self._events: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise UnavailableError(
                    "events for TensorBoard need the package tensorboard, which is not installed; pip install "
                    "'exitsearch[tensorboard]', or "
                    "leave out --tensorboard"
                ) from None
            self._events = SummaryWriter(str(folder / TENSORBOARD_FOLDER), purge_step=behind)

    def write(self, rows: list[dict[str, Any]], *, step: int) -> None:
        """Write all rows; the last one is new.

        Args:
            rows: of the training so far.
            step: of the whole training that the last row stands at.
        """
        write_text(self._path, log_table(rows))
        if self._events is not None and rows:
            for name, value in rows[-1].items():
                if isinstance(value, int | float) and name not in ("epoch", "step"):
                    self._events.add_scalar(name.replace(" ", "/"), value, step)
            self._events.flush()

    def close(self) -> None:
        """End the events."""
        if self._events is not None:
            self._events.close()
