"""A bundle is input from outside: nothing of it reaches a parser before it is what the manifest says.

In this order: the folder holds regular files of plain names and nothing else; the manifest is read and checked; every
file is there, none beside; sizes, then SHA-256 of every byte; then a look into every graph, whose outside data must lie
in files of the manifest.

What is promised. Every file is opened once, without following links, and checked through that very opening; what is
loaded afterwards is read through it too, so that a file swapped by its name changes nothing. Someone who may write into
the files themselves while they are loaded could still change weights after they were checked: keep the folder read-only
where that matters. Once loaded, nothing is read from the folder again. Checksums tell a bundle that was altered from
one that was not; they cannot tell who wrote it. A bundle from a stranger can hold no code, but graphs that answer
nonsense or take long.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import BundleError
from .fields import FieldError
from .manifest import NAME, Manifest
from .read_manifest import read_manifest
from .wire import ExternalData, external_data

_LARGEST_MANIFEST = 16 * 2**20
# No bundle has more entries in its folder; a folder of a million is not one.
_MOST_ENTRIES = 4096

_NAME_ONE = "name the folder that exitsearch export wrote"
# Bytes hashed at a time, so that a signal gets through.
_CHUNK = 64 * 2**20


@dataclass(frozen=True)
class CheckedBundle:
    """A manifest and its files' bytes, all checked.

    Attributes:
        path: the folder.
        manifest: what it says.
        files: name to bytes, mapped from the disk; good until the context ends.
        external: graph's name to the places outside it that it names.
    """

    path: Path
    manifest: Manifest
    files: dict[str, bytes | mmap.mmap]
    external: dict[str, list[ExternalData]]


@contextmanager
def open_bundle(path: Path | str, *, most_bytes: int) -> Iterator[CheckedBundle]:
    """Open a bundle and check all of it.

    Args:
        path: its folder.
        most_bytes: that all its files together may have.

    Raises:
        BundleError: anything is not as it should be.
    """
    folder = Path(path)
    try:
        names = _names(folder)
        manifest = _manifest(folder, names)
        _compare(folder, names, manifest, most_bytes=most_bytes)
    except OSError as error:
        raise BundleError(folder, f"cannot be read ({error.strerror or error})") from None
    files: dict[str, bytes | mmap.mmap] = {}
    try:
        for name in sorted(manifest.files):
            files[name] = _checked(folder, name, manifest)
        graphs = {graph.file for graph in (*manifest.segments, *manifest.heads)} if manifest.format == "onnx" else set()
        external = {name: _outside(folder, name, files) for name in sorted(graphs)}
        yield CheckedBundle(folder, manifest, files, external)
    finally:
        for content in files.values():
            if isinstance(content, mmap.mmap):
                _close(content)


def _close(content: mmap.mmap) -> None:
    try:
        content.close()
    except BufferError:  # someone holds a view still, as a traceback does; it is closed when they let go
        return


def _names(folder: Path) -> set[str]:
    """Names in the folder, all of them of regular files."""
    if not folder.is_dir():
        raise BundleError(folder, f"a bundle is a folder with {NAME} in it, found {_what(folder)}", remedy=_NAME_ONE)
    names: set[str] = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_file(follow_symlinks=False):
                kind = "a link" if entry.is_symlink() else "a folder" if entry.is_dir() else "something else"
                raise BundleError(folder, f"a bundle holds regular files alone, found {kind}, {entry.name!r}")
            names.add(entry.name)
            if len(names) > _MOST_ENTRIES:
                raise BundleError(folder, f"a bundle holds at most {_MOST_ENTRIES} files, found more")
    return names


def _what(folder: Path) -> str:
    return "a file" if folder.exists() else "nothing there"


def _manifest(folder: Path, names: set[str]) -> Manifest:
    if NAME not in names:
        raise BundleError(folder, f"a bundle is a folder with {NAME} in it, found none", remedy=_NAME_ONE)
    with _open(folder / NAME) as file:
        raw = file.read(_LARGEST_MANIFEST + 1)
    try:
        return read_manifest(raw)
    except FieldError as error:
        raise BundleError(folder / NAME, str(error)) from None


def _compare(folder: Path, names: set[str], manifest: Manifest, *, most_bytes: int) -> None:
    """The folder holds what the manifest names, and nothing else."""
    if strange := sorted(names - {NAME, *manifest.files}):
        raise BundleError(
            folder,
            f"the manifest names every file of a bundle, found {len(strange)} that it does not, as {strange[0]!r}",
            remedy="take them out, or write the bundle again with exitsearch export",
        )
    if missing := sorted(set(manifest.files) - names):
        raise BundleError(folder, f"{len(missing)} files of the manifest are missing, as {missing[0]}")
    total = sum(facts.bytes for facts in manifest.files.values())
    if total > most_bytes:
        raise BundleError(
            folder,
            f"a bundle may have {most_bytes} bytes here, found {total}",
            remedy="raise most_bytes, where the bundle is to be trusted",
        )


def _open(path: Path) -> io.BufferedReader:
    """A regular file, opened without following a link and without waiting for a pipe's other end."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BundleError(path, "must be a regular file")
    return os.fdopen(descriptor, "rb")


def _checked(folder: Path, name: str, manifest: Manifest) -> bytes | mmap.mmap:
    """A file's bytes, once they are those of the manifest."""
    facts = manifest.files[name]
    path = folder / name
    try:
        with _open(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size != facts.bytes:
                raise BundleError(path, f"must have {facts.bytes} bytes, found {size}")
            content = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b""
    except (OSError, ValueError) as error:
        raise BundleError(path, f"cannot be read ({error})") from None
    digest = hashlib.sha256()
    with memoryview(content) as view:
        for start in range(0, size, _CHUNK):
            digest.update(view[start : start + _CHUNK])
    if digest.hexdigest() != facts.sha256:
        if isinstance(content, mmap.mmap):
            content.close()
        raise BundleError(
            path, f"was altered: its SHA-256 must be {facts.sha256[:16]}..., found {digest.hexdigest()[:16]}..."
        )
    return content


def _outside(folder: Path, name: str, files: dict[str, bytes | mmap.mmap]) -> list[ExternalData]:
    """The places that a graph names outside itself, each within a file of the manifest."""
    try:
        with memoryview(files[name]) as view:
            places = external_data(view)
        for place in places:
            if place.location not in files:
                raise FieldError(
                    f"data outside a graph must lie in a file of the manifest, found {place.location[:60]!r}"
                )
            size = len(files[place.location])
            if place.offset + (place.length or 0) > size:
                raise FieldError(
                    f"data outside a graph must lie within its file, found bytes {place.offset} to "
                    f"{place.offset + (place.length or 0)} of the {size} of {place.location}"
                )
    except FieldError as error:
        raise BundleError(folder / name, str(error)) from None
    return places
