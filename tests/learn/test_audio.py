"""Recordings: the spectrogram against formulas and references, reading, lengths, folders."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from small_data import RECIPE, small_backbone

from exitsearch.errors import FileError, InputError, UnavailableError
from exitsearch.learn.bank.train import train_bank
from exitsearch.learn.data import batches, data_outputs, in_order, load_data
from exitsearch.learn.data.audio import check_recordings, clip_seconds, read_recording, seconds_of
from exitsearch.learn.data.log_mel import RATE
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


def test_clips_are_as_long_as_nearly_all_recordings(tmp_path):
    """Nineteen of 0.31 s and one of 3 s: the 95% quantile lies just above 0.31, the next step of 0.05 is 0.45."""
    files = []
    for number in range(20):
        files.append(tmp_path / f"{number}.wav")
        _write(files[-1], np.zeros(round((3 if number == 7 else 0.31) * RATE)))
    shares = []
    lengths = check_recordings(
        [str(file) for file in files], progress=lambda share, words: shares.append((share, words))
    )
    assert lengths == pytest.approx([3 if number == 7 else 0.31 for number in range(20)])
    assert shares == [(1.0, "20 recordings")]
    assert clip_seconds(lengths) == pytest.approx(0.45)
    assert clip_seconds(lengths[:7]) == pytest.approx(0.35)
    assert clip_seconds([30.0]) == 10.0


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


def test_a_folder_that_lacks_something(tmp_path, backbone):
    name = f"audio-folder:{tmp_path}"
    with pytest.raises(InputError, match=r"holds train/<class>/\*\.wav .* found no recordings; put them there"):
        load_data(name, backbone=backbone)
    _folder(tmp_path, {"train": 1, "test": 1})
    for name_of_class in ("high", "low"):  # one of each: one in heads, one in choice
        _write(tmp_path / "few" / name_of_class / "0.wav", _tone(500, 0.1))
    with pytest.raises(InputError, match=r"needs a recording, the report split has none \(2 in all"):
        load_data(f"audio-folder:{tmp_path / 'few'}", backbone=backbone)
    (tmp_path / "train" / "none").mkdir()
    with pytest.raises(InputError, match="1 of 3 class folders hold no recording, the first is 'none'"):
        load_data(name, backbone=backbone)


def test_broken_recordings_are_counted_before_anything_starts(tmp_path, backbone):
    _folder(tmp_path, {"train": 2, "val": 2, "test": 2})
    for part in ("train", "val"):
        (tmp_path / part / "low" / "01.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"2 of 12 recordings cannot be read, the first is .*train/low/01\.wav: not a"):
        load_data(f"audio-folder:{tmp_path}", backbone=backbone)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_recording_that_breaks_later_ends_the_batch(tmp_path, backbone, workers):
    _folder(tmp_path, {"train": 2, "val": 2, "test": 2})
    data = load_data(f"audio-folder:{tmp_path}", backbone=backbone, workers=workers)
    (tmp_path / "train" / "low" / "01.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"1 of the 4 recordings of a batch cannot be read, .*low/01\.wav: not a"):
        list(batches(data.heads, order=in_order(4, 4)))
    data.close()


def test_recordings_have_no_targets(tmp_path):
    _folder(tmp_path, {"train": 2, "val": 2, "test": 2})
    with pytest.raises(InputError, match="told apart by classes"):
        load_data(f"audio-folder:{tmp_path}", backbone=small_backbone(task="regression"))
