"""LogMel: the spectrogram of a clip, as an image of one channel.

A recording is brought to one length (padded with silence or cropped, both to its middle); its log-mel spectrogram
[1, bands, frames] is in 0..1, where 1 is its own loudest cell and 0 what is 80 dB or more below it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# What speech is recorded at for recognition; half of it is the highest frequency that counts.
RATE = 16_000

# Shortest window, in seconds: the usual one of speech recognition.
_WINDOW = 0.025

# What is so far below the loudest cell is silence, in decibels.
_RANGE = 80.0

# Power of the loudest cell below which a recording is digital silence: less than one step of 16 bits gives.
_SILENCE = 1e-6


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
