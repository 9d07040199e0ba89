"""The kinds of data that there are, each with the beginning of its names and its file.

A kind of data is a `Source`: a function that says how many outputs a backbone needs, and one that makes the splits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exitsearch.learn.data import audio, by_timm, digits, folder, side
from exitsearch.learn.data.asked import Asked
from exitsearch.learn.data.splits import DataSplits
from exitsearch.models.backbone import Backbone


@dataclass(frozen=True)
class Source:
    """A kind of data.

    Attributes:
        outputs: how many classes a data set has.
        load: its three splits, prepared for a backbone.
    """

    outputs: Callable[[Asked], int]
    load: Callable[[Asked, Backbone], DataSplits]


FOLDER = Source(folder.outputs, side.load)
# Whole names, and beginnings of names that end in a separator, which is taken off for a folder.
SOURCES = {
    "digits": Source(digits.outputs, digits.load),
    "folder:": FOLDER,
    "audio-folder:": Source(audio.outputs, audio.load),
    **{prefix: Source(by_timm.outputs, by_timm.load) for prefix in by_timm.PREFIXES},
}


def find_source(name: str) -> tuple[Source, str]:
    """The kind of a data set, and what its name says without `folder:` and the like.

    A name that is a folder's is that folder, whatever it begins with.
    """
    if name in SOURCES and not name.endswith((":", "/")):
        return SOURCES[name], name
    for prefix, source in SOURCES.items():
        if prefix.endswith(":") and name.startswith(prefix):
            return source, name.removeprefix(prefix)
        if prefix.endswith("/") and name.lower().startswith(prefix) and not _is_folder(name):
            return source, name
    return FOLDER, name


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except OSError:
        return False
