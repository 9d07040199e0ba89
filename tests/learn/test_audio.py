"""Recordings: the spectrogram against formulas and references, reading, lengths, folders."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from small_data import RECIPE, small_backbone

from exitsearch.errors import FileError, InputError, UnavailableError
from exitsearch.learn.bank import train_bank
from exitsearch.learn.data import batches, data_outputs, in_order, load_data
from exitsearch.learn.data.audio import (
    RATE,
    LogMel,
    clip_seconds,
    fit_length,
    hz_to_mel,
    mel_filters,
    mel_to_hz,
    read_recording,
    seconds_of,
)
from exitsearch.models.backbone import create_backbone


@pytest.fixture(scope="module")
def backbone():
    return small_backbone()


def _tone(hertz, seconds=1.0, rate=RATE):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def _write(path, samples, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate, np.round(samples * 32767).astype(np.int16))


def _folder(root, counts, classes=("high", "low")):
    """Tones of two pitches; `counts` recordings of each class by part of the data."""
    for part, count in counts.items():
        for number in range(count):
            for name, hertz in zip(classes, (2000, 300), strict=True):
                _write(root / part / name / f"{number:02d}.wav", _tone(hertz * (1 + number / 100), 0.3))


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


def test_clips_are_as_long_as_nearly_all_recordings(tmp_path):
    """Nineteen of 0.31 s and one of 3 s: the 95% quantile lies just above 0.31, the next step of 0.05 is 0.45."""
    files = []
    for number in range(20):
        files.append(tmp_path / f"{number}.wav")
        _write(files[-1], np.zeros(round((3 if number == 7 else 0.31) * RATE)))
    assert seconds_of(files[0]) == pytest.approx(0.31)
    assert clip_seconds(files) == pytest.approx(0.45)
    assert clip_seconds(files[:7]) == pytest.approx(0.35)
    _write(tmp_path / "long.wav", np.zeros(30 * RATE))
    assert clip_seconds([tmp_path / "long.wav"]) == 10.0


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (np.int16, [-32768, 0, 16384]),
        (np.int32, [-(2**31), 0, 2**30]),
        (np.uint8, [0, 128, 192]),
        (np.float32, [-1.0, 0.0, 0.5]),
    ],
)
@pytest.mark.parametrize("library", ["scipy", "soundfile"])
def test_every_kind_of_wav_is_read_alike(tmp_path, monkeypatch, dtype, values, library):
    _library(monkeypatch, library)
    path = tmp_path / "a.wav"
    wavfile.write(path, RATE, np.array(values, dtype=dtype))
    assert read_recording(path).tolist() == [-1.0, 0.0, 0.5]
    assert seconds_of(path) == pytest.approx(3 / RATE)
    # Left and right are averaged.
    stereo = np.array([[values[0], values[0]], [values[1], values[2]]], dtype=dtype)
    wavfile.write(path, RATE, stereo)
    assert read_recording(path).tolist() == [-1.0, 0.25]
    assert seconds_of(path) == pytest.approx(2 / RATE)


def _library(monkeypatch, name):
    if name == "soundfile":
        pytest.importorskip("soundfile")
    else:
        monkeypatch.setitem(sys.modules, "soundfile", None)


def test_another_rate_is_resampled(tmp_path):
    """A tone of 400 Hz recorded at 8 kHz is one at 16 kHz, away from the ends."""
    path = tmp_path / "a.wav"
    _write(path, _tone(400, 0.5, rate=8000), rate=8000)
    found = read_recording(path)
    assert len(found) == 8000
    np.testing.assert_allclose(found[500:-500], _tone(400, 0.5)[500:-500], atol=5e-3)


@pytest.mark.parametrize("library", ["scipy", "soundfile"])
@pytest.mark.parametrize("content", [b"", b"no recording at all", b"RIFF\x24\x00\x00\x00WAVEfmt "])
def test_a_broken_recording_is_named(tmp_path, monkeypatch, content, library):
    _library(monkeypatch, library)
    path = tmp_path / "broken.wav"
    path.write_bytes(content)
    for read in (read_recording, seconds_of):
        with pytest.raises(FileError, match=r"broken\.wav: not a"):
            read(path)


def test_a_recording_without_samples_or_with_strange_ones_is_refused(tmp_path):
    wavfile.write(tmp_path / "none.wav", RATE, np.zeros(0, dtype=np.int16))
    with pytest.raises(FileError, match="has none"):
        read_recording(tmp_path / "none.wav")
    wavfile.write(tmp_path / "nan.wav", RATE, np.array([0.0, np.nan], dtype=np.float32))
    with pytest.raises(FileError, match="no finite numbers"):
        read_recording(tmp_path / "nan.wav")


def test_flac_without_soundfile_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (tmp_path / "a.flac").write_bytes(b"fLaC")
    with pytest.raises(UnavailableError, match=r"pip install exitsearch\[audio\]"):
        read_recording(tmp_path / "a.flac")


def test_a_folder_of_recordings(tmp_path, backbone):
    """The backbone's input of 8 x 8 pixels: 8 bands, 8 frames, normalised with its mean and deviation."""
    _folder(tmp_path, {"train": 4, "val": 3, "test": 2})
    name = f"audio-folder:{tmp_path}"
    assert data_outputs(name) == 2
    data = load_data(name, backbone=backbone)
    assert (data.classes, data.num_outputs, data.task) == (("high", "low"), 2, "classification")
    assert [len(data.split(split)) for split in ("heads", "choice", "report")] == [8, 6, 4]
    inputs, labels = next(batches(data.choice, order=in_order(6, 6)))
    assert inputs.shape == (6, 1, 8, 8)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    one, label = data.choice[4]
    assert torch.equal(one, inputs[4])
    assert int(label) == 1
    raw = inputs * 0.376 + 0.305
    assert (float(raw.min()) >= -1e-6, float(raw.max())) == (True, pytest.approx(1.0))
    # The high tone is above the low one.
    assert raw[0, 0].mean(1).argmax() > raw[5, 0].mean(1).argmax()


def test_channels_are_repeated_for_a_backbone_of_images(tmp_path):
    _folder(tmp_path, {"train": 2, "val": 2, "test": 2})
    backbone = create_backbone("test_vit", pretrained=False, num_outputs=2, image_size=32)
    data = load_data(f"audio-folder:{tmp_path}", backbone=backbone)
    inputs, _ = data.heads.batch([0])
    assert inputs.shape == (1, 3, 32, 32)


def test_heads_learn_to_tell_tones_apart(tmp_path):
    backbone = create_backbone("vit_digits_patch1_8", pretrained=False, num_outputs=2)
    _folder(tmp_path / "data", {"train": 10, "val": 4, "test": 4})
    data = load_data(f"audio-folder:{tmp_path / 'data'}", backbone=backbone)
    recipe = RECIPE.__class__(**{**vars(RECIPE), "epochs": 10, "learning_rate": 1e-2, "augment": ("specaugment",)})
    outcomes = train_bank(backbone, data, out=tmp_path / "out", exits=[(1, "cnn_ignore_ee(dropout=0)")], recipe=recipe)
    assert outcomes.heads[0].scores == {"choice": 1.0, "report": 1.0}


@pytest.mark.parametrize(
    ("counts", "message"),
    [({"train": 2}, "no recordings found|every split needs a recording"), ({"val": 2}, "no recordings found")],
)
def test_a_folder_that_lacks_something(tmp_path, backbone, counts, message):
    (tmp_path / "train").mkdir()
    if "train" in counts:
        _folder(tmp_path, {"train": 1}, classes=("a", "b"))
    with pytest.raises(InputError, match=message):
        load_data(f"audio-folder:{tmp_path}", backbone=backbone)


def test_a_broken_recording_among_others_ends_the_batch(tmp_path, backbone):
    _folder(tmp_path, {"train": 2, "val": 2, "test": 2})
    data = load_data(f"audio-folder:{tmp_path}", backbone=backbone)
    broken = tmp_path / "train" / "low" / "01.wav"
    broken.write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"low/01\.wav: not a"):
        list(batches(data.heads, order=in_order(4, 4)))


def test_recordings_have_no_targets(tmp_path):
    _folder(tmp_path, {"train": 2, "val": 2, "test": 2})
    with pytest.raises(InputError, match="told apart by classes"):
        load_data(f"audio-folder:{tmp_path}", backbone=small_backbone(task="regression"))
