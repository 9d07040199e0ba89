"""Asked: a data set as a user asks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exitsearch.specs.backbone import Task


@dataclass(frozen=True)
class Asked:
    """A data set as it is asked for.

    Attributes:
        name: of the data set or the folder, without `folder:`.
        task: what the labels are.
        root: where data sets that have a name are kept; None takes what is usual for them.
        download: whether what is missing may be fetched.
        progress: is told how far a look at the files is; None tells nobody.
    """

    name: str
    task: Task = "classification"
    root: Path | None = None
    download: bool = False
    progress: Callable[[float, str], None] | None = None
