"""Recordings from disk as a backbone wants them: spectrograms of one length, in the place of grey images.

A recording is averaged into one channel, brought to 16 kHz and to one length (padded with silence or cropped, both to
its middle), and becomes a log-mel spectrogram [1, bands, frames] in 0..1: 80 dB below its own loudest cell and less is
0. There are as many bands and frames as the backbone's input is high and wide, so that nothing is resized; from there
on it is treated as an image, normalised as the backbone expects.

WAV files are read by soundfile where it is installed (`pip install exitsearch[audio]`), and by scipy otherwise; FLAC
and Ogg need soundfile.
"""

from __future__ import annotations

import math
import os
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from exitsearch.errors import FileError, UnavailableError
from exitsearch.learn.data.images import Prepare

# What speech is recorded at for recognition; half of it is the highest frequency that counts.
RATE = 16_000

# Shortest window, in seconds: the usual one of speech recognition.
_WINDOW = 0.025

# What is so far below the loudest cell is silence, in decibels.
_RANGE = 80.0

# Power of the loudest cell below which a recording is digital silence: less than one step of 16 bits gives.
_SILENCE = 1e-6

# Length of the clips: no longer than this share of the training files needs, nor than the most seconds.
_LENGTH_QUANTILE = 0.95
_MOST_SECONDS = 10.0

# So many files are asked for their length; each costs an opening.
_MOST_ASKED = 1000

# Below this many recordings, starting worker processes costs more than they save.
_FEW_RECORDINGS = 512
_MOST_WORKERS = 4

_WAV = frozenset((".wav", ".wave"))
_EXTENSIONS = _WAV | {".flac", ".ogg"}


def hz_to_mel(hz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """The mel scale as HTK has it: 2595 log10(1 + f / 700).

    >>> [round(float(mel)) for mel in (hz_to_mel(0), hz_to_mel(1000), hz_to_mel(8000))]
    [0, 1000, 2840]
    """
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(hz) / 700.0))


def mel_to_hz(mel: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """The inverse of `hz_to_mel`."""
    return np.asarray(700.0 * (10.0 ** (np.asarray(mel) / 2595.0) - 1.0))


def mel_filters(bands: int, *, n_fft: int, rate: int) -> Tensor:
    """Triangular filters [bands, n_fft / 2 + 1] with peak 1, their corners evenly spaced in mel from 0 to rate / 2."""
    corners = mel_to_hz(np.linspace(0.0, float(hz_to_mel(rate / 2)), bands + 2))
    low, middle, high = (corners[start : start + bands, None] for start in range(3))
    bins = np.linspace(0.0, rate / 2, n_fft // 2 + 1)
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    return torch.from_numpy(np.clip(np.minimum(rising, falling), 0.0, None)).float()


@dataclass(frozen=True)
class LogMel:
    """From a recording to its log-mel spectrogram.

    Attributes:
        bands: mel bands, at least 1; the spectrogram's height.
        frames: its width, at least 1.
        hop: samples from frame to frame, at least 1; a clip has `frames` times as many.
        rate: samples per second.
    """

    bands: int
    frames: int
    hop: int
    rate: int = RATE

    @classmethod
    def for_seconds(cls, seconds: float, *, bands: int, frames: int) -> LogMel:
        """A spectrogram of clips that are at least `seconds` long, above 0."""
        return cls(bands, frames, max(1, math.ceil(seconds * RATE / frames)))

    @property
    def samples(self) -> int:
        """Length of a clip."""
        return self.hop * self.frames

    @property
    def window(self) -> int:
        """Samples that a frame is computed from: 25 ms, or twice the hop where frames are farther apart."""
        return max(round(_WINDOW * self.rate), 2 * self.hop)

    @property
    def n_fft(self) -> int:
        """The smallest power of two that holds the window and has a bin for every band."""
        mels = float(hz_to_mel(self.rate / 2)) / (self.bands + 1)
        return 1 << (max(self.window, math.ceil(self.rate / float(mel_to_hz(mels)))) - 1).bit_length()

    def __call__(self, recording: Tensor) -> Tensor:
        """The spectrogram [1, bands, frames] in 0..1 of a recording [samples] in -1..1."""
        clip = fit_length(recording, self.samples)
        window, filters = _analysis(self.window, self.bands, self.n_fft, self.rate)
        spectrum = torch.stft(
            clip,
            self.n_fft,
            hop_length=self.hop,
            win_length=self.window,
            window=window,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
        # A frame more than asked for stands at the very end.
        power = filters @ spectrum[:, : self.frames].abs().square()
        loudest = max(float(power.max()), _SILENCE)
        decibels = 10.0 * torch.log10(power.clamp(min=loudest * 10 ** (-_RANGE / 10)) / loudest)
        return (decibels / _RANGE + 1.0)[None]


@cache
def _analysis(window: int, bands: int, n_fft: int, rate: int) -> tuple[Tensor, Tensor]:
    return torch.hann_window(window), mel_filters(bands, n_fft=n_fft, rate=rate)


def fit_length(recording: Tensor, samples: int) -> Tensor:
    """A recording [any length] padded with silence on both sides, or cropped to its middle: [samples]."""
    missing = samples - len(recording)
    if missing >= 0:
        return F.pad(recording, (missing // 2, missing - missing // 2))
    start = -missing // 2
    return recording[start : start + samples]


def recording_files(folder: Path) -> list[Path]:
    """Every recording below a folder, in the order of their paths."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _EXTENSIONS and path.is_file())


def read_recording(path: Path, *, rate: int = RATE) -> Tensor:
    """A recording [samples] in -1..1 at a sampling rate, its channels averaged.

    Raises:
        FileError: when it cannot be decoded or is empty.
        UnavailableError: its format needs soundfile, which is not installed.
    """
    from scipy.signal import resample_poly

    found, own = _decode(path)
    if not found.size:
        raise FileError(path, "a recording has samples, this one has none; leave it out")
    mono = found.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise FileError(path, "holds samples that are no finite numbers; leave it out")
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
        raise FileError(path, f"not a recording that can be decoded: {error}") from None
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
            path, f"not a WAV file that scipy can decode ({error}); soundfile knows more: exitsearch[audio]"
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
        raise FileError(path, f"not a recording that can be decoded: {error}") from None


def clip_seconds(files: Sequence[Path]) -> float:
    """A length for the clips of a data set, in steps of 0.05 s: nearly all training files fit in, none beyond 10 s.

    Args:
        files: of the training split, at least one; evenly spaced ones are asked where there are thousands.

    Raises:
        FileError: a recording that cannot be decoded.
    """
    asked = files[:: max(1, len(files) // _MOST_ASKED)]
    long = float(np.quantile([seconds_of(file) for file in asked], _LENGTH_QUANTILE))
    return min(max(math.ceil(long * 20 - 1e-6), 1) / 20, _MOST_SECONDS)


class RecordingsSplit(Dataset[tuple[Tensor, Tensor]]):
    """A split whose recordings stay on disk.

    Attributes:
        labels: class indices [samples].
        groups: None: every recording is whole.
        workers: processes that read ahead.
    """

    groups: Tensor | None = None

    def __init__(self, listed: Sequence[tuple[Path, int | float]], *, log_mel: LogMel, prepare: Prepare) -> None:
        self.files = [str(file) for file, _ in listed]
        self.labels = torch.tensor([label for _, label in listed], dtype=torch.int64)
        self.log_mel, self.prepare = log_mel, prepare
        self.workers = min(_MOST_WORKERS, os.cpu_count() or 1) if len(listed) > _FEW_RECORDINGS else 0

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        spectrogram = self.log_mel(read_recording(Path(self.files[index])))
        return self.prepare(spectrogram[None])[0], self.labels[index]

    def batch(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Spectrograms [batch, channels, height, width] and labels [batch].

        Raises:
            FileError: when a recording cannot be decoded.
        """
        spectrograms = [self.log_mel(read_recording(Path(self.files[index]))) for index in indices]
        return self.prepare(torch.stack(spectrograms)), self.labels[indices]
