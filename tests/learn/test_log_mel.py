"""The spectrogram: by hand, against a plain Fourier transform, and against references where they are installed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from exitsearch.learn.data.log_mel import RATE, LogMel, fit_length, hz_to_mel, mel_filters, mel_to_hz


def _tone(hertz, seconds=1.0):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


def test_filters_by_hand():
    """Two bands up to 4 kHz: 2146.1 mel; corners at 0, 715.4, 1430.7 and 2146.1 mel: 0, 620.5, 1791.1 and 4000 Hz.

    With 8 samples the bins are at 0, 1000, 2000, 3000 and 4000 Hz. The first band falls from 620.5 to 1791.1: at 1000
    (1791.1 - 1000) / 1170.6 = 0.676. The second rises there to 0.324 and falls from 1791.1: 0.905, 0.453, 0.
    """
    corners = mel_to_hz(np.linspace(0, float(hz_to_mel(4000)), 4))
    np.testing.assert_allclose(corners, [0, 620.46, 1790.86, 4000], atol=0.5)
    expected = [[0, 0.676, 0, 0, 0], [0, 0.324, 0.905, 0.453, 0]]
    np.testing.assert_allclose(mel_filters(2, n_fft=8, rate=8000).numpy(), expected, atol=2e-3)


@pytest.mark.parametrize(("bands", "n_fft", "rate"), [(40, 512, 16000), (80, 1024, 16000), (64, 2048, 22050)])
def test_filters_are_those_of_the_references(bands, n_fft, rate):
    """torchaudio's and librosa's, where they are installed; always the formula, filter by filter and bin by bin."""
    found = mel_filters(bands, n_fft=n_fft, rate=rate)
    mels = [2595 * math.log10(1 + rate / 2 / 700) * step / (bands + 1) for step in range(bands + 2)]
    corners = [700 * (10 ** (mel / 2595) - 1) for mel in mels]
    for band in range(0, bands, 7):
        low, middle, high = corners[band : band + 3]
        for number in range(0, n_fft // 2 + 1, 3):
            hertz = rate * number / n_fft
            rising, falling = (hertz - low) / (middle - low), (high - hertz) / (high - middle)
            assert float(found[band, number]) == pytest.approx(max(0, min(rising, falling)), abs=1e-5)
    try:
        from torchaudio.functional import melscale_fbanks
    except (ImportError, OSError):
        pass
    else:
        reference = melscale_fbanks(n_fft // 2 + 1, 0.0, rate / 2, bands, rate, norm=None, mel_scale="htk")
        torch.testing.assert_close(found, reference.T, rtol=1e-4, atol=1e-4)
    try:
        from librosa.filters import mel
    except ImportError:
        pass
    else:
        reference = mel(sr=rate, n_fft=n_fft, n_mels=bands, htk=True, norm=None)
        np.testing.assert_allclose(found.numpy(), reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bands", [8, 32, 64, 128, 224])
def test_every_band_has_a_bin(bands):
    log_mel = LogMel.for_seconds(1.0, bands=bands, frames=bands)
    filters = mel_filters(bands, n_fft=log_mel.n_fft, rate=RATE)
    assert bool((filters.max(1).values > 0.1).all())
    assert log_mel.n_fft >= log_mel.window >= 2 * log_mel.hop


def test_spectrum_is_that_of_a_plain_fourier_transform():
    """Frame 10 of a clip: the power of the windowed samples around sample 10 * hop, through the filters."""
    log_mel = LogMel(bands=20, frames=32, hop=200)
    clip = torch.randn(log_mel.samples, generator=torch.Generator().manual_seed(0))
    found = log_mel(clip)[0]
    middle, side = 10 * log_mel.hop, log_mel.window // 2
    frame = clip[middle - side : middle + side].double().numpy()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(log_mel.window) / log_mel.window)
    power = np.abs(np.fft.rfft(frame * window, log_mel.n_fft)) ** 2
    bands = mel_filters(20, n_fft=log_mel.n_fft, rate=RATE).double().numpy() @ power
    expected = 10 * np.log10(bands) / 80
    # The loudest cell of the whole clip is 1: all others are as far below it as their decibels.
    np.testing.assert_allclose(found[:, 10] - found[0, 10], expected - expected[0], atol=1e-4)


@pytest.mark.parametrize("hertz", [300, 1000, 3000])
def test_a_tone_is_in_its_band(hertz):
    log_mel = LogMel.for_seconds(1.0, bands=40, frames=48)
    found = log_mel(torch.from_numpy(_tone(hertz)).float())
    assert found.shape == (1, 40, 48)
    corners = mel_to_hz(np.linspace(0, float(hz_to_mel(RATE / 2)), 42))
    nearest = int(np.abs(corners[1:-1] - hertz).argmin())
    assert int(found[0, :, 24].argmax()) == nearest


def test_loudness_does_not_matter_and_silence_is_black():
    log_mel = LogMel.for_seconds(0.5, bands=16, frames=20)
    clip = torch.from_numpy(_tone(700, 0.5)).float()
    loud, quiet = log_mel(clip), log_mel(clip * 0.01)
    torch.testing.assert_close(loud, quiet, atol=1e-3, rtol=0)
    assert float(loud.max()) == pytest.approx(1)
    assert float(loud.min()) >= 0
    assert not bool(log_mel(torch.zeros(8000)).any())


def test_lengths_by_hand():
    """Two samples more are one on either side; of five too many two go at the front and three at the end."""
    clip = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    assert fit_length(clip, 9).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0]
    assert fit_length(clip, 10).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 0]
    assert fit_length(clip, 2).tolist() == [3, 4]
    assert fit_length(clip, 7) is not None
    assert torch.equal(fit_length(clip, 7), clip)
