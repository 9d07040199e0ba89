"""Side inputs from disk: a recording beside every picture of a folder.

    DIR/labels.csv with `file,target,audio`     regression; a further column names the side input of each file
    DIR/labels.csv with `file,audio`            beside the class folders of a classification

The column has the name of the side input, and its cells are paths of recordings, relative to the folder. Which columns
are read is the model's to say (`create_backbone(side_inputs={"audio": (1, 32, 64)})`, `--side audio=1x32x64`): a folder
is data for models without side inputs too. A recording becomes a log-mel spectrogram of as many bands and frames as the
side input is high and wide (`audio.py`), in -1..1.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from exitsearch.errors import FileError, InputError
from exitsearch.learn.data import folder
from exitsearch.learn.data.asked import Asked
from exitsearch.learn.data.audio import RecordingsSplit, check_recordings, clip_seconds
from exitsearch.learn.data.folder import LABELS_FILE
from exitsearch.learn.data.images import ImagesSplit, Paths, Prepare
from exitsearch.learn.data.log_mel import LogMel
from exitsearch.learn.data.splits import SPLITS, DataSplits, Split, identity_of
from exitsearch.models.backbone import Backbone
from exitsearch.models.inputs import Batch, Inputs, main_input
from exitsearch.specs.document import read_text
from exitsearch.specs.side import Size
from exitsearch.specs.table import read_table


class SideSplit(Split):
    """A split whose samples have side inputs: each input is a split of its own, and they are read together.

    Args:
        main: what the backbone reads, with the labels.
        beside: the side inputs by name; their labels are not looked at.
        side_inputs: size of each, as `beside` hands them out.
    """

    def __init__(self, main: Split, beside: Mapping[str, Split], *, side_inputs: Mapping[str, Size]) -> None:
        assert beside.keys() == side_inputs.keys()
        assert all(len(split) == len(main) for split in beside.values())
        super().__init__(main.labels)
        self.main, self.beside, self.side_inputs, self.groups = main, dict(beside), dict(side_inputs), main.groups
        self.is_quick = all(split.is_quick for split in (main, *beside.values()))

    def read(self, indices: list[int]) -> Inputs:
        """Every input of some samples.

        Raises:
            InputError: one cannot be decoded.
        """
        beside = {name: main_input(split.read(indices)) for name, split in self.beside.items()}
        return Inputs(beside, x=main_input(self.main.read(indices)))

    def finish(self, samples: Any) -> Batch:
        """Every input as the model wants it, where they are."""
        assert isinstance(samples, Inputs)
        beside = {name: main_input(split.finish(samples[name])) for name, split in self.beside.items()}
        return Inputs(beside, x=main_input(self.main.finish(samples.x)))


def load(asked: Asked, backbone: Backbone) -> DataSplits:
    """A folder's splits (`folder.load`), with the side inputs that the backbone has.

    Raises:
        InputError: as for `folder.load`; pictures without a side input, or recordings that cannot be read.
        FileError: a broken `labels.csv`, or one without a column for a side input.
    """
    data = folder.load(asked, backbone)
    for name, size in backbone.side_inputs.items():
        sounds = _Sounds.found(data, Path(asked.name), name, size, asked)
        data = replace(
            data,
            identity=identity_of(data.identity, *sounds.facts),
            heads=sounds.beside(data.heads, "heads"),
            choice=sounds.beside(data.choice, "choice"),
            report=sounds.beside(data.report, "report"),
        )
    return data


@dataclass(frozen=True)
class _Sounds:
    """The recordings of one side input.

    Attributes:
        name: of the side input.
        size: its (channels, bands, frames).
        files: by split, in the order of its samples.
        log_mel: makes the spectrograms.
        facts: what the samples' values depend on.
    """

    name: str
    size: Size
    files: Mapping[str, Paths]
    log_mel: LogMel
    facts: tuple[object, ...]

    @classmethod
    def found(cls, data: DataSplits, root: Path, name: str, size: Size, asked: Asked) -> _Sounds:
        """Those that a column of `labels.csv` names; every header was looked at."""
        named = _named(root, name)
        names = {key: _beside(named, _pictures(data.split(key)), root, name) for key in SPLITS}
        files = {key: Paths(root, names[key]) for key in SPLITS}
        lengths = check_recordings([path for key in SPLITS for path in files[key]], progress=asked.progress)
        _, bands, frames = size
        log_mel = LogMel.for_seconds(clip_seconds(lengths[: len(files[SPLITS[0]])]), bands=bands, frames=frames)
        # Sizes stand in for contents, as those of the pictures do.
        listed = [
            (key, file, os.path.getsize(path))
            for key in SPLITS
            for file, path in zip(names[key], files[key], strict=True)
        ]
        return cls(name, size, files, log_mel, (name, size, repr(log_mel), listed))

    def beside(self, split: Split, key: str) -> SideSplit:
        """A split with this side input too."""
        prepare = Prepare(self.size, mean=(0.5,) * self.size[0], std=(0.5,) * self.size[0])
        mine = RecordingsSplit(self.files[key], split.labels, log_mel=self.log_mel, prepare=prepare)
        if isinstance(split, SideSplit):
            sizes = {**split.side_inputs, self.name: self.size}
            return SideSplit(split.main, {**split.beside, self.name: mine}, side_inputs=sizes)
        return SideSplit(split, {self.name: mine}, side_inputs={self.name: self.size})


def _pictures(split: Split) -> list[str]:
    """Paths of a split's pictures."""
    main = split.main if isinstance(split, SideSplit) else split
    assert isinstance(main, ImagesSplit)
    return list(main.files)


def _named(root: Path, name: str) -> dict[str, str]:
    """The cells of a column of `labels.csv`, by the path of their picture."""
    table = root / LABELS_FILE
    if not table.is_file():
        raise InputError(
            f"{root}: the side input {name} of each picture stands in {LABELS_FILE}, with the columns file,{name}, and "
            "there is none; write it, or leave --side out"
        )
    found: dict[str, str] = {}
    for line, row in read_table(read_text(table), table, ("file", name)):
        path = os.path.join(root, row["file"])
        if path in found:
            raise FileError(
                table,
                f"row {line}: each picture has one {name}, and {row['file']!r} stands there twice",
                remedy="leave one out",
            )
        found[path] = row[name]
    return found


def _beside(named: Mapping[str, str], pictures: list[str], root: Path, name: str) -> list[str]:
    """The recording of each picture, relative to the folder."""
    if missing := [path for path in pictures if not named.get(path)]:
        first = os.path.relpath(missing[0], root)
        raise InputError(
            f"{root}: every picture needs its {name} in {LABELS_FILE}, {len(missing):,} of {len(pictures):,} have "
            f"none, the first is {first!r}; name a recording (of silence, where nothing is heard), or leave --side out"
        )
    names = [named[path] for path in pictures]
    if lost := [file for file in names if not os.path.isfile(os.path.join(root, file))]:
        raise FileError(root / LABELS_FILE, f"no such {name} {lost[0]!r} beside it ({len(lost):,} are missing)")
    return names
