"""A quick look at every file of a data set before anything starts, so that a broken one is known at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO

from PIL import Image

from exitsearch.errors import InputError

# How whole files of these formats end. What ends otherwise is decoded to be sure.
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB\x60\x82", "GIF": b";"}
_TAIL = 16
# The time goes into waiting for the disk.
_THREADS = 8
_CHUNK = 1024


def fault(path: str) -> str | None:
    """What is wrong with an image by its beginning and its end, as few words; None where nothing is.

    A file that was cut off, is empty or is no image is found; rot in the middle of one is not, without decoding all.
    """
    try:
        with open(path, "rb") as file, Image.open(file) as image:
            if _ends_well(file, image.format):
                return None
            image.load()
    except Exception as error:  # decoders raise whatever they like over a broken file
        return str(error).replace(f" {path!r}", "").splitlines()[0] if str(error) else type(error).__name__
    return None


def _ends_well(file: IO[bytes], kind: str | None) -> bool:
    if kind not in _ENDS:
        return False
    place = file.tell()
    file.seek(-min(_TAIL, file.seek(0, os.SEEK_END)), os.SEEK_END)
    tail = file.read()
    file.seek(place)  # where the decoder, if it is needed, goes on
    return tail.endswith(_ENDS[kind])


def check_images(files: Sequence[str], *, progress: Callable[[float, str], None] | None = None) -> None:
    """Refuse a data set with files that cannot be read.

    Args:
        files: paths of the images.
        progress: called with the share that is done and words.

    Raises:
        InputError: says how many cannot be read and names the first.
    """
    faults: list[tuple[str, str]] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(files), _CHUNK):
            chunk = files[start : start + _CHUNK]
            faults += [(path, words) for path, words in zip(chunk, pool.map(fault, chunk), strict=True) if words]
            if progress is not None:
                progress(min(1.0, (start + _CHUNK) / len(files)), f"{len(files):,} images")
    if faults:
        path, words = faults[0]
        raise InputError(
            f"{len(faults):,} of {len(files):,} images cannot be read, the first is {path} ({words}); replace them or "
            "take them away"
        )
