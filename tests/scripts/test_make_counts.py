"""Generated pictures of blobs: what is drawn, what is written, and that they are data to train on."""

from __future__ import annotations

import csv

import make_counts
import numpy as np
import pytest
from PIL import Image

from exitsearch.learn.data import load_data
from exitsearch.learn.data.tiles import picture_labels
from exitsearch.models.backbone import create_backbone


def _rows(folder):
    with (folder / "labels.csv").open() as file:
        return list(csv.DictReader(file))


def test_smallest(call, tmp_path):
    """Ten pictures: 6, 2 and 2, whose targets `load_data` takes."""
    out = tmp_path / "counts"
    called = call("make_counts", "--out", out, "--count", "10", "--size", "16", "--most", "9", "--seed", "1")
    assert called.status == 0
    assert called.figures == {"images": 10, "pictures": 10, "folder": str(out)}
    rows = _rows(out)
    assert [row["file"].split("/")[0] for row in rows] == ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    assert all(0 <= int(row["target"]) <= 9 for row in rows)
    assert Image.open(out / rows[0]["file"]).size == (16, 16)
    backbone = create_backbone("vit_digits_patch1_8", pretrained=False, num_outputs=1, task="regression")
    data = load_data(str(out), backbone=backbone)
    assert data.heads.labels.tolist() == [float(row["target"]) for row in rows[:6]]
    assert data.heads[0][0].shape == (1, 8, 8)


def test_the_same_seed_gives_the_same_pictures(call, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert make_counts.main(["--out", str(tmp_path / name), "--count", "5", "--seed", str(seed)]) == 0
    a, b, c = ((tmp_path / name / "train" / "00000.png").read_bytes() for name in "abc")
    assert a == b != c


def test_tiles_are_the_picture_cut_up(tmp_path):
    """The same seed with and without tiles; counts of the tiles add up to the picture's."""
    for name, tiles in (("whole", "1"), ("cut", "4")):
        make_counts.main(["--out", str(tmp_path / name), "--count", "5", "--size", "32", "--tiles", tiles])
    whole, cut = _rows(tmp_path / "whole"), _rows(tmp_path / "cut")
    assert len(cut) == 16 * len(whole)
    for row in whole:
        mine = [tile for tile in cut if f"{tile['group']}.png" == row["file"]]
        assert sum(int(tile["target"]) for tile in mine) == int(row["target"])
    pixels = np.asarray(Image.open(tmp_path / "whole" / "train" / "00001.png"))
    tile = np.asarray(Image.open(tmp_path / "cut" / "train" / "00001_2_3.png"))
    assert np.array_equal(tile, pixels[16:24, 24:32])
    backbone = create_backbone("vit_digits_patch1_8", pretrained=False, num_outputs=1, task="regression")
    data = load_data(str(tmp_path / "cut"), backbone=backbone)
    assert picture_labels(data.heads).tolist() == [float(row["target"]) for row in whole[:3]]


def test_more_blobs_are_brighter_but_not_by_their_number():
    """Blobs hide each other: four times as many add less than four times the light."""
    light = {}
    for count in (0, 50, 200):
        drawn = [make_counts.draw(count, size=64, rng=np.random.default_rng(seed)) for seed in range(20)]
        assert all(len(centres) == count and picture.shape == (64, 64) for picture, centres in drawn)
        light[count] = np.mean([picture.mean() for picture, _ in drawn])
    assert light[0] < light[50] < light[200]
    assert light[200] - light[0] < 3.6 * (light[50] - light[0])


@pytest.mark.parametrize("argv", [["--count", "4"], ["--most", "0"], ["--size", "65", "--tiles", "2"]])
def test_wrong_numbers_are_refused(argv, tmp_path, capsys):
    assert make_counts.main(["--out", str(tmp_path / "no"), *argv]) == 2
    assert "must be" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
