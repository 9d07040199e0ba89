"""The folder of a bundle: made beside its place, sealed with checksums, given its name only when it is whole."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exitsearch.errors import FileError
from exitsearch.specs.bundle import BUNDLE_FILE, Bundle, FileFacts
from exitsearch.specs.document import unwritable

_CHUNK = 2**20


def sealed(bundle: Bundle, folder: Path) -> Bundle:
    """The manifest with size and checksum of every file in the folder."""
    files = {}
    for path in sorted(folder.iterdir()):
        path.chmod(0o644)  # safetensors writes private files
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_CHUNK):
                digest.update(block)
        files[path.name] = FileFacts(sha256=digest.hexdigest(), bytes=path.stat().st_size)
    return bundle.model_copy(update={"files": files})


def check_out(out: Path, *, restart: bool) -> None:
    """Whether a bundle may be written there.

    Raises:
        FileError: something stands there already.
    """
    if not out.exists():
        return
    if not restart:
        raise FileError(
            out, "is there already", remedy="give another --out, or replace the bundle in it with --restart"
        )
    if not out.is_dir() or (any(out.iterdir()) and not (out / BUNDLE_FILE).is_file()):
        raise FileError(out, "--restart replaces a bundle, and this is none", remedy="give another --out")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """An empty folder beside `out`, gone afterwards unless it was renamed."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
        folder.chmod(0o755)  # mkdtemp makes private folders; a bundle is for everyone
    except OSError as error:
        raise unwritable(out, error) from None
    try:
        yield folder
    except OSError as error:
        raise unwritable(out, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def put_in_place(folder: Path, out: Path) -> None:
    """Give the finished folder its name; what stood there goes only then."""
    if out.exists():
        former = folder.with_suffix(".former")
        os.replace(out, former)
        os.replace(folder, out)
        shutil.rmtree(former, ignore_errors=True)
    else:
        os.replace(folder, out)
