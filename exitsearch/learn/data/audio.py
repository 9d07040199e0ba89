"""Recordings from disk as a backbone wants them: spectrograms of one length, in the place of grey images.

A recording is averaged into one channel, brought to 16 kHz and becomes a spectrogram (`log_mel.py`) of as many bands
and frames as the backbone's input is high and wide, so that nothing is resized; from there on it is treated as an
image, normalised as the backbone expects. All clips are as long as nearly all training recordings need.

WAV files are read by soundfile where it is installed (`pip install exitsearch[audio]`), and by scipy otherwise; FLAC
and Ogg need soundfile.
"""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exitsearch.errors import FileError, InputError, UnavailableError
from exitsearch.learn.data.asked import Asked
from exitsearch.learn.data.folder import Kind, check_listed, data_folder, list_classes
from exitsearch.learn.data.images import Paths, Prepare
from exitsearch.learn.data.log_mel import RATE, LogMel
from exitsearch.learn.data.splits import SPLITS, DataSplits, Split, labels_tensor
from exitsearch.models.backbone import Backbone

# Length of the clips: no longer than this share of the training files needs, nor than the most seconds.
_LENGTH_QUANTILE = 0.95
_MOST_SECONDS = 10.0

# Progress is told after so many headers.
_CHUNK = 256

_WAV = (".wav", ".wave")
RECORDINGS = Kind("recording", "a recording", "recordings", (*_WAV, ".flac", ".ogg"))


def read_recording(path: Path, *, rate: int = RATE) -> Tensor:
    """A recording [samples] in -1..1 at a sampling rate, its channels averaged.

    Raises:
        FileError: when it cannot be decoded or is empty.
        UnavailableError: its format needs soundfile, which is not installed.
    """
    from scipy.signal import resample_poly

    found, own = _decode(path)
    if not found.size:
        raise FileError(path, "a recording has samples, this one has none", remedy="leave it out")
    mono = found.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise FileError(path, "holds samples that are no finite numbers", remedy="leave it out")
    if own != rate:
        shared = math.gcd(own, rate)
        mono = resample_poly(mono, rate // shared, own // shared)
    return torch.from_numpy(np.ascontiguousarray(mono, dtype=np.float32))


def _decode(path: Path) -> tuple[NDArray[np.float32], int]:
    """Samples [samples, channels] in -1..1, and the file's own sampling rate."""
    soundfile = _soundfile(path)
    if soundfile is None:
        found, own = _read_wav(path)
        return _as_float(found), own
    try:
        samples, own = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:  # libsndfile's own errors are RuntimeErrors
        raise FileError(
            path, f"not a recording that can be decoded: {error}", remedy="replace it or take it away"
        ) from None
    return samples, int(own)


def _read_wav(path: Path) -> tuple[NDArray[Any], int]:
    """Raw samples [samples, channels], mapped from disk, of a WAV file by scipy."""
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks with comments
            own, samples = wavfile.read(path, mmap=True)
    except (OSError, ValueError, EOFError, struct.error) as error:  # the last of headers that are cut short
        raise FileError(
            path,
            f"not a WAV file that scipy can decode ({error})",
            remedy="pip install 'exitsearch[audio]', which decodes more",
        ) from None
    return np.asarray(samples).reshape(len(samples), samples.shape[1] if samples.ndim > 1 else 1), int(own)


def _as_float(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Whole numbers of a WAV file as numbers in -1..1."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    if samples.dtype == np.uint8:  # 8 bits are counted from 0, all others from the middle
        return (samples.astype(np.float32) - 128.0) / 128.0
    return samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)


def _soundfile(path: Path) -> Any:
    """The module soundfile; None where it is not installed and the file is a WAV.

    Raises:
        UnavailableError: it is not installed, and the file needs it.
    """
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: installed, but without the library that it wraps
        if path.suffix.lower() in _WAV:
            return None
        raise UnavailableError(
            f"{path}: only WAV files can be read without soundfile; pip install exitsearch[audio]"
        ) from None
    return soundfile


def seconds_of(path: Path) -> float:
    """Length of a recording in seconds, from its header.

    Raises:
        FileError: when it cannot be decoded.
        UnavailableError: its format needs soundfile, which is not installed.
    """
    soundfile = _soundfile(path)
    if soundfile is None:
        samples, rate = _read_wav(path)
        return len(samples) / rate
    try:
        return float(soundfile.info(str(path)).duration)
    except (OSError, RuntimeError) as error:
        raise FileError(
            path, f"not a recording that can be decoded: {error}", remedy="replace it or take it away"
        ) from None


def clip_seconds(lengths: Sequence[float]) -> float:
    """A length for the clips of a data set, in steps of 0.05 s: nearly all training files fit in, none beyond 10 s.

    Args:
        lengths: of the recordings of the training split in seconds, at least one.
    """
    long = float(np.quantile(lengths, _LENGTH_QUANTILE))
    return min(max(math.ceil(long * 20 - 1e-6), 1) / 20, _MOST_SECONDS)


def check_recordings(files: Sequence[str], *, progress: Callable[[float, str], None] | None = None) -> list[float]:
    """The length of each recording in seconds, by its header.

    Args:
        files: their paths.
        progress: called with the share that is done and words.

    Raises:
        InputError: some cannot be read; says how many and names the first.
        UnavailableError: a format needs soundfile, which is not installed.
    """
    found: list[float] = []
    faults: list[FileError] = []
    for number, file in enumerate(files, start=1):
        try:
            found.append(seconds_of(Path(file)))
        except FileError as error:
            faults.append(error)
        if progress is not None and (number % _CHUNK == 0 or number == len(files)):
            progress(number / len(files), f"{len(files):,} recordings")
    if faults:
        raise InputError(
            f"{len(faults):,} of {len(files):,} recordings cannot be read, the first is {faults[0]}; replace them or "
            "take them away"
        )
    return found


class RecordingsSplit(Split):
    """A split whose recordings stay on disk.

    Attributes:
        files: paths of the recordings.
        labels: class indices [samples].
        log_mel: makes the spectrograms.
        prepare: makes a backbone's inputs of them.
    """

    def __init__(self, files: Sequence[str], labels: Tensor, *, log_mel: LogMel, prepare: Prepare) -> None:
        super().__init__(labels)
        self.files, self.log_mel, self.prepare = files, log_mel, prepare

    def read(self, indices: list[int]) -> Tensor:
        """Spectrograms [batch, 1, bands, frames] in 0..1.

        Raises:
            InputError: some cannot be decoded; says how many and names the first.
        """
        found: list[Tensor] = []
        faults: list[InputError] = []
        for index in indices:
            try:
                found.append(self.log_mel(read_recording(Path(self.files[index]))))
            except InputError as error:
                faults.append(error)
        if faults:
            raise InputError(
                f"{len(faults)} of the {len(indices)} recordings of a batch cannot be read, the first is {faults[0]}; "
                "put the original back and run the same command again: what was trained before is kept"
            )
        return torch.stack(found)

    def finish(self, samples: Tensor) -> Tensor:
        """The spectrograms as the backbone's inputs [batch, channels, height, width], where they are."""
        return self.prepare(samples)


def outputs(asked: Asked) -> int:
    """How many classes a folder of recordings holds. Opens none."""
    return len(list_classes(data_folder(asked.name, RECORDINGS), RECORDINGS)[1])


def load(asked: Asked, backbone: Backbone) -> DataSplits:
    """The splits of a folder of recordings; every header was looked at.

    Raises:
        InputError: no folder, no recordings in it or in a split, classes that differ, recordings that cannot be read.
    """
    if asked.task == "regression":
        raise InputError(f"{asked.name}: recordings are told apart by classes, one folder each; leave --metric mae out")
    folder = data_folder(asked.name, RECORDINGS)
    listed, classes = list_classes(folder, RECORDINGS)
    prepare, (_, height, width) = Prepare.for_backbone(backbone), backbone.input_size
    check_listed(asked.name, listed, kind=RECORDINGS)
    files = {key: Paths(folder, (file.name for file, _ in listed[key])) for key in SPLITS}
    lengths = check_recordings([path for key in SPLITS for path in files[key]], progress=asked.progress)
    seconds = clip_seconds(lengths[: len(files[SPLITS[0]])])
    log_mel = LogMel.for_seconds(seconds, bands=height, frames=width)
    parts = {
        key: RecordingsSplit(
            files[key],
            labels_tensor([label for _, label in listed[key]], asked.task),
            log_mel=log_mel,
            prepare=prepare,
        )
        for key in SPLITS
    }
    identity = check_listed(asked.name, listed, asked.task, prepare, log_mel, kind=RECORDINGS)
    return DataSplits(f"audio-folder:{folder}", identity, asked.task, len(classes), **parts, classes=classes)
