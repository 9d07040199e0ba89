"""Tiles of pictures: by hand, in splits, and through a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_data import RECIPE, small_backbone

from exitsearch.errors import FileError
from exitsearch.learn.bank.train import train_bank
from exitsearch.learn.data import TensorsSplit, load_data
from exitsearch.learn.data.tiles import (
    picture_count,
    picture_labels,
    picture_numbers,
    pictures,
    sum_batch,
    sum_tiles,
    torn_picture,
    whole_batches,
)
from exitsearch.specs.outcomes import Outcomes

FILES = ["a0", "b", "a1", "c0", "c1", "a2"]
GROUPS = {name: name[0] for name in ("a0", "a1", "a2", "c0", "c1")}


@pytest.fixture(scope="module")
def backbone():
    return small_backbone(task="regression")


def _write(root, names, groups=True):
    """Tiles with one target each, 0, 1, 2, ...; the picture of `p3_1.png` is `p3`."""
    rows = ["file,target,group" if groups else "file,target"]
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), number).save(path)
        rows.append(f"{name},{number}" + (f",{name.rsplit('_', 1)[0]}" if groups and "_" in name else ""))
    (root / "labels.csv").write_text("\n".join(rows) + "\n")


def test_pictures_by_hand():
    assert pictures(FILES, GROUPS) == [[0, 2, 5], [1], [3, 4]]
    assert picture_numbers(FILES, GROUPS).tolist() == [0, 1, 0, 2, 2, 0]
    assert picture_numbers(FILES, {}) is None
    assert picture_numbers(FILES, {"b": "alone"}) is None


def test_sums_by_hand():
    """Picture 0 has the tiles 1, 3 and 6; picture 1 has 2; picture 2 has 4 and 5."""
    numbers = torch.tensor([0, 1, 0, 2, 2, 0])
    values = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]])
    assert sum_tiles(values, numbers).tolist() == [[10.0], [2.0], [9.0]]
    assert sum_tiles(values[:, 0], numbers).tolist() == [10.0, 2.0, 9.0]
    assert sum_tiles(values, None) is values


def test_batches_hold_whole_pictures():
    """Pictures of 3, 1 and 2 tiles; four samples at most: the first two together; at most one or two: each alone."""
    split = TensorsSplit(torch.zeros(6, 1, 8, 8), torch.arange(6.0), prepare=lambda images: images)
    split.groups = torch.tensor([0, 1, 0, 2, 2, 0])
    assert picture_count(split) == 3
    assert whole_batches(split, 6) == [[0, 2, 5, 1, 3, 4]]
    assert whole_batches(split, 4) == [[0, 2, 5, 1], [3, 4]]
    assert whole_batches(split, 1) == [[0, 2, 5], [1], [3, 4]]
    for size in (1, 4, 6):
        summed = [sum_batch(split.labels[batch], split, batch) for batch in whole_batches(split, size)]
        assert torch.cat(summed).tolist() == picture_labels(split).tolist() == [7.0, 1.0, 7.0]
    split.groups = None
    assert picture_count(split) == 6
    assert whole_batches(split, 4) == [[0, 1, 2, 3], [4, 5]]
    assert sum_batch(split.labels, split, [0, 1]) is split.labels


def test_a_torn_picture_is_named():
    assert torn_picture([FILES[:2], FILES[2:]], GROUPS) == "a"
    assert torn_picture([[FILES[0], FILES[2], FILES[5]], [FILES[1], *FILES[3:5]]], GROUPS) is None


def test_splits_keep_pictures_whole(tmp_path, backbone):
    """20 pictures of three tiles each, which stand far apart in the table: 12, 4 and 4 of them."""
    _write(tmp_path, [f"p{picture}_{tile}.png" for tile in range(3) for picture in range(20)])
    data = load_data(str(tmp_path), backbone=backbone)
    seen = {}
    for name, count in (("heads", 12), ("choice", 4), ("report", 4)):
        split = data.split(name)
        assert (len(split), len(picture_labels(split))) == (3 * count, count)
        for file in split.files:
            assert seen.setdefault(Path(file).name.split("_")[0], name) == name
        for number, label in enumerate(picture_labels(split).tolist()):
            assert label == float(split.labels[split.groups == number].sum())
    assert len(seen) == 20


def test_without_groups_splits_are_what_they_were(tmp_path, backbone):
    """The permutation and the identity of a table without the column, from before there was one."""
    _write(tmp_path, [f"{number:02d}.png" for number in range(10)], groups=False)
    data = load_data(str(tmp_path), backbone=backbone)
    drawn = torch.randperm(10, generator=torch.Generator().manual_seed(0)).tolist()
    assert data.choice.labels.tolist() == sorted(map(float, drawn[6:8]))
    assert data.choice.groups is None
    plain = data.identity
    text = (tmp_path / "labels.csv").read_text().replace("target", "target,group").replace("\n0", ",\n0")
    (tmp_path / "labels.csv").write_text(text)
    assert load_data(str(tmp_path), backbone=backbone).identity == plain


def test_identity_knows_the_groups(tmp_path, backbone):
    _write(tmp_path, [f"{part}/p{number}_0.png" for part in ("train", "val", "test") for number in range(4)])
    whole = load_data(str(tmp_path), backbone=backbone)
    text = (tmp_path / "labels.csv").read_text()
    (tmp_path / "labels.csv").write_text(text.replace(",train/p1", ",train/p0"))
    grouped = load_data(str(tmp_path), backbone=backbone)
    assert grouped.identity != whole.identity
    assert grouped.heads.groups.tolist() == [0, 0, 1, 2]


def test_tiles_in_two_splits_are_refused(tmp_path, backbone):
    _write(tmp_path, ["train/p0_0.png", "val/p1_0.png", "test/p2_0.png", "test/p3_0.png"])
    text = (tmp_path / "labels.csv").read_text()
    (tmp_path / "labels.csv").write_text(text.replace(",test/p3", ",val/p1"))
    with pytest.raises(FileError, match="those of 'val/p1' are in two of train/, val/ and test/"):
        load_data(str(tmp_path), backbone=backbone)


def test_scores_are_of_pictures(tmp_path, backbone):
    """30 pictures of 2 tiles; the answers of a picture are those of the same tiles without groups, summed."""
    folder = tmp_path / "data"
    _write(folder, [f"{part}/p{n}_{t}.png" for part in ("train", "val", "test") for n in range(10) for t in range(2)])
    found = {}
    for kind in ("tiles", "pictures"):
        if kind == "tiles":
            with_groups = (folder / "labels.csv").read_text()
            rows = [",".join(row.split(",")[:2]) for row in with_groups.splitlines()]
            (folder / "labels.csv").write_text("\n".join(rows) + "\n")
        else:
            (folder / "labels.csv").write_text(with_groups)
        data = load_data(str(folder), backbone=backbone)
        train_bank(backbone, data, out=tmp_path / kind, exits=[(1, "linear")], recipe=RECIPE)
        found[kind] = Outcomes.load(tmp_path / kind)
    assert found["tiles"].splits == {"choice": 20, "report": 20}
    assert found["pictures"].splits == {"choice": 10, "report": 10}
    # Training is on tiles, with or without groups.
    heads = [load_file(tmp_path / kind / "heads" / "1__linear.safetensors") for kind in found]
    assert all(torch.equal(heads[0][key], heads[1][key]) for key in heads[0])
    found["pictures"].check_samples()
    for split in ("choice", "report"):
        tiles, whole = (found[kind].samples(split) for kind in ("tiles", "pictures"))
        np.testing.assert_array_equal(whole.labels, tiles.labels.reshape(10, 2).sum(1))
        summed = tiles.outputs[1, "linear"].reshape(10, 2).sum(1, keepdims=True)
        np.testing.assert_allclose(whole.outputs[1, "linear"], summed, rtol=1e-5)
        error = np.abs(whole.outputs[1, "linear"][:, 0] - whole.labels).mean()
        assert found["pictures"].heads[0].scores[split] == pytest.approx(error, rel=1e-5)
    # Training pictures are 1, 5, ..., 37 (median 19), choice 41, 45, ..., 77, on the average 40 away from it.
    assert found["pictures"].fallback == pytest.approx(40.0)
