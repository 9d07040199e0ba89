"""Generated recordings: melodies everywhere, words where espeak-ng is installed."""

from __future__ import annotations

import shutil

import make_spoken_digits
import numpy as np
import pytest
from scipy.io import wavfile

from exitsearch.learn.data import load_data
from exitsearch.models.backbone import create_backbone


def test_melodies(call, tmp_path):
    """50 recordings: three of each digit to train on, one to choose on, one to report."""
    out = tmp_path / "melodies"
    called = call("make_spoken_digits", "--out", out, "--count", "50", "--tones", "--seed", "2")
    assert called.status == 0
    assert (called.figures["recordings"], called.figures["kind"]) == (50, "melodies")
    backbone = create_backbone("vit_digits_patch1_8", pretrained=False)
    data = load_data(f"audio-folder:{out}", backbone=backbone)
    assert data.classes == tuple(sorted(make_spoken_digits.WORDS))
    for name, count in (("heads", 3), ("choice", 1), ("report", 1)):
        assert np.bincount(data.split(name).labels.numpy()).tolist() == [count] * 10
    rate, samples = wavfile.read(out / "train" / "seven" / "00007.wav")
    assert rate == 16_000
    assert samples.dtype == np.int16
    assert 0.3 < len(samples) / rate < 0.75


def test_without_espeak_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert make_spoken_digits.main(["--out", str(tmp_path), "--count", "50"]) == 0
    out = capsys.readouterr().out
    assert "espeak-ng is not installed (apt-get install espeak-ng): melodies instead of words" in out
    assert "kind: melodies" in out


def test_melodies_differ_in_notes_alone():
    """No two digits have the same melody, and a melody's notes are as many semitones apart as it says."""
    assert len(set(make_spoken_digits.MELODIES)) == 10
    samples = make_spoken_digits.play(7, rng=np.random.default_rng(0))
    assert np.abs(samples).max() <= 0.5
    notes = np.split(samples, 3)
    found = [np.abs(np.fft.rfft(note * np.hanning(len(note)), 1 << 16)).argmax() for note in notes]
    steps = 12 * np.log2(np.array(found) / found[0])
    # All notes have the same timbre, so that the same overtone is the loudest of each.
    np.testing.assert_allclose(steps, make_spoken_digits.MELODIES[7], atol=0.3)


def test_voices_of_the_splits_are_different():
    voices = [voice for split in make_spoken_digits.VOICES.values() for voice in split]
    assert len(voices) == len(set(voices))


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_words(call, tmp_path):
    called = call("make_spoken_digits", "--out", tmp_path / "spoken", "--count", "50")
    assert called.figures["kind"] == "words by espeak-ng"
    assert 0.3 < called.figures["mean_seconds"] < 1.5
    _, samples = wavfile.read(tmp_path / "spoken" / "test" / "three" / "00003.wav")
    assert np.abs(samples).max() > 1000


def test_too_few_are_refused(tmp_path, capsys):
    assert make_spoken_digits.main(["--out", str(tmp_path), "--count", "49"]) == 2
    assert "--count must be 50 or more" in capsys.readouterr().err
