"""Names of files and folders: where a step writes, and where the next one looks.

    profiles/<condition>.json                          `exitsearch profile`; `search` takes the newest that fits
    profiles/knobs/<condition>__<...>__<digest>.json   a search over settings
    outcomes/<backbone>__<data>[__mae]/                `exitsearch train-heads`
    outcomes/knobs/<backbone>__<data>__<...>__<digest>/
    exitsearch-out/                                    chosen.json, report.html, study.journal

All are relative to the folder that a command is started in. A digest stands for all that the contents depend on, so
what stands there under its name is used again, by anybody; two processes that want the same wait for each other.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exitsearch.specs.profile import Profile
from exitsearch.specs.question.knobs import Setting

# Profiles that `search` finds by itself lie directly in here; folders below it are collections for reading.
PROFILES = Path("profiles")
# Outcomes that `search` finds by itself, one folder a backbone and data set.
OUTCOMES = Path("outcomes")
KNOBS = "knobs"
CHOSEN = "chosen.json"
JOURNAL = "study.journal"


def profile_file(profile: Profile) -> Path:
    """Where a profile is kept: its name is its condition."""
    return PROFILES / f"{profile.condition()}.json"


def outcomes_folder(name: str, data: str, *, metric: str | None = None) -> Path:
    """Where the outcomes of a backbone and a data set are kept; those of an error metric apart.

    Args:
        name: of the backbone, with or without a tag.
        data: name or folder of the data set; `*` makes a pattern.
        metric: `accuracy`, `mae` or None.
    """
    suffix = "__mae" if metric == "mae" else ""
    return OUTCOMES / f"{plain_name(name)}__{_data_name(data)}{suffix}"


def setting_profile_file(name: str, device: str, setting: Setting, ending: str) -> Path:
    """Where the profile of a setting's condition is kept.

    Args:
        name: of the backbone.
        device: kind of the device.
        ending: digest of all else that the times depend on.
    """
    size = f"__{setting.input_size}px" if setting.input_size else ""
    batch = f"bs{setting.batch_size}__{setting.runtime}__t{setting.threads}"
    return PROFILES / KNOBS / f"{plain_name(name)}__{device}__{setting.dtype}__{batch}{size}__{ending}.json"


def setting_outcomes_folder(name: str, data: str, label: str, ending: str) -> Path:
    """Where some heads of a search over settings are kept.

    Args:
        name: of the backbone.
        data: of the data set.
        label: which heads, or the dtype that they answer in.
        ending: digest of all that the answers depend on.
    """
    return OUTCOMES / KNOBS / f"{name.split('.')[0]}__{Path(data).name}__{label}__{ending}"


def _data_name(data: str) -> str:
    """A data set's name as folders carry it: the last part of a path, without `folder:` and the like before it."""
    kind, colon, path = data.partition(":")
    return Path(path if colon and kind.endswith("folder") else data).name


def plain_name(name: str) -> str:
    """A backbone's name as files carry it: without its tag, and without slashes."""
    return name.split(".")[0].replace("/", "_")


def newest(folder: Path, pattern: str) -> Path | None:
    """The file that was written last among those that fit; None when there is none."""
    return max(folder.glob(pattern), key=lambda path: path.stat().st_mtime, default=None)


def newest_profile(*, name: str | None, device: str | None) -> Path | None:
    """The profile that was written last, of a backbone and a kind of device; None leaves either open."""
    kind = device.split(":")[0] if device else "*"
    return newest(PROFILES, f"{plain_name(name) if name else '*'}__{kind}__*.json")


def digest(*facts: object) -> str:
    """12 hexadecimal digits that stand for all that something depends on."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes out while something is made that stands at a path. A lock ends with its process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.name != "posix":
        yield
        return
    import fcntl

    with (path.parent / f".{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
