"""Scenes that must be seen and heard: what is written, and the error that seeing alone cannot go below."""

from __future__ import annotations

import csv

import make_sounding_counts
import numpy as np
import pytest
from scipy.io import wavfile


def test_smallest(call, tmp_path):
    out = tmp_path / "scenes"
    called = call("make_sounding_counts", "--out", out, "--count", "10", "--size", "8", "--most", "3", "--seed", "1")
    assert called.status == 0
    assert called.figures["scenes"] == 10
    with (out / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"].split("/")[0] for row in rows] == ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    assert all(0 <= int(row["target"]) <= 3 + 20 for row in rows)
    rate, samples = wavfile.read(out / rows[0]["audio"])
    assert (rate, len(samples)) == (16_000, 32_000)


def test_the_bound_by_hand():
    """Of 0, 1, 2, 9 tones the median is 1.5: 1.5, 0.5, 0.5 and 7.5 away from it."""
    assert make_sounding_counts.bound([0, 1, 2, 9]) == 2.5


def test_more_tones_are_more_sound():
    rng = np.random.default_rng(0)
    energies = [np.square(make_sounding_counts.play(count, rng=rng)).sum() for count in (0, 5, 20)]
    assert energies[0] < energies[1] / 10
    assert energies[1] < energies[2] / 2


def test_the_same_seed_gives_the_same_scenes(tmp_path):
    for name in "ab":
        argv = ["--out", str(tmp_path / name), "--count", "5", "--size", "8", "--seed", "3"]
        assert make_sounding_counts.main(argv) == 0
    for file in ("labels.csv", "train/00000.wav", "train/00000.png"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("wrong", [["--count", "4"], ["--most-heard", "0"]])
def test_wrong_options(capsys, tmp_path, wrong):
    assert make_sounding_counts.main(["--out", str(tmp_path / "x"), *wrong]) == 2
    assert "--count must be 5 or more" in capsys.readouterr().err
