"""Data: digits and folders of images, their splits and their preparation."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from small_data import small_backbone

from exitsearch.errors import FileError, InputError, UnsupportedError
from exitsearch.learn.data import check_data, data_outputs, load_data
from exitsearch.learn.data.images import Paths, Prepare

PLAIN = {"mean": (0.0,), "std": (1.0,)}


@pytest.fixture(scope="module")
def backbone():
    return small_backbone()


def _image(path, value=0, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


def _classes(root, counts, start=0):
    """Images named by a running number, whose grey is that number."""
    number = start
    for name, count in counts.items():
        for _ in range(count):
            _image(root / name / f"{number:03d}.png", number)
            number += 1


def _files(data):
    return {key: {file.rsplit("/", 1)[1] for file in data.split(key).files} for key in ("heads", "choice", "report")}


def test_digits_are_normalised(backbone):
    """A pixel p in 0..1 becomes (p - 0.305) / 0.376 by the backbone's own configuration."""
    data = load_data("digits", backbone=backbone)
    assert [len(data.split(name)) for name in ("heads", "choice", "report")] == [997, 400, 400]
    image, label = data.heads[5]
    assert image.shape == (1, 8, 8)
    torch.testing.assert_close(image, (data.heads.images[5] - 0.305) / 0.376)
    assert label.dtype == torch.int64
    assert data.num_outputs == 10


def test_digits_for_regression_are_numbers():
    backbone = small_backbone(task="regression")
    data = load_data("digits", backbone=backbone)
    assert (data.task, data.num_outputs, data.heads.labels.dtype) == ("regression", 1, torch.float32)
    assert set(data.heads.labels.tolist()) == set(range(10))


def test_three_folders_are_the_three_splits(tmp_path, backbone):
    _classes(tmp_path / "train", {"cat": 2, "dog": 3})
    _classes(tmp_path / "val", {"dog": 2}, start=10)
    _classes(tmp_path / "test", {"cat": 1, "dog": 1}, start=20)
    data = load_data(str(tmp_path), backbone=backbone)
    assert data.classes == ("cat", "dog")
    assert data.heads.labels.tolist() == [0, 0, 1, 1, 1]
    # `dog` keeps its index in a split without cats.
    assert data.choice.labels.tolist() == [1, 1]
    assert data.report.labels.tolist() == [0, 1]
    assert data_outputs(str(tmp_path)) == data.num_outputs == 2


def test_without_test_val_is_halved(tmp_path, backbone):
    _classes(tmp_path / "train", {"cat": 2, "dog": 2})
    _classes(tmp_path / "val", {"cat": 3, "dog": 3}, start=10)
    files = _files(load_data(str(tmp_path), backbone=backbone))
    assert (len(files["choice"]), len(files["report"])) == (3, 3)
    assert files["choice"] | files["report"] == {f"{n:03d}.png" for n in range(10, 16)}


def test_one_folder_is_split_and_disjoint(tmp_path, backbone):
    _classes(tmp_path, {"a": 10, "b": 10})
    first, second = (load_data(str(tmp_path), backbone=backbone) for _ in range(2))
    files = _files(first)
    assert {key: len(names) for key, names in files.items()} == {"heads": 12, "choice": 4, "report": 4}
    assert len(files["heads"] | files["choice"] | files["report"]) == 20
    assert files == _files(second)
    assert first.identity == second.identity


def test_identity_follows_the_files(tmp_path, backbone):
    _classes(tmp_path, {"a": 10, "b": 10})
    before = load_data(str(tmp_path), backbone=backbone).identity
    _image(tmp_path / "a" / "new.png")
    assert load_data(str(tmp_path), backbone=backbone).identity != before


def test_regression_folder(tmp_path):
    backbone = small_backbone(task="regression")
    rows = ["file,target"]
    for number in range(10):
        _image(tmp_path / f"{number}.png", number)
        rows.append(f"{number}.png,{number / 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    data = load_data(str(tmp_path), backbone=backbone)
    assert (len(data.heads), len(data.choice), len(data.report)) == (6, 2, 2)
    for key in ("heads", "choice", "report"):
        split = data.split(key)
        names = [int(file.rsplit("/", 1)[1].removesuffix(".png")) for file in split.files]
        assert split.labels.tolist() == [number / 2 for number in names]


def test_regression_folder_with_splits_in_its_paths(tmp_path):
    backbone = small_backbone(task="regression")
    paths = ["train/a.png", "val/b.png", "test/c.png"]
    for path in paths:
        _image(tmp_path / path)
    (tmp_path / "labels.csv").write_text("file,target\n" + "".join(f"{path},1\n" for path in paths))
    assert _files(load_data(str(tmp_path), backbone=backbone)) == {
        "heads": {"a.png"},
        "choice": {"b.png"},
        "report": {"c.png"},
    }


def test_wrong_data_is_refused(tmp_path, backbone):
    with pytest.raises(InputError, match="`digits` or a folder of images"):
        load_data("cifar10", backbone=backbone)
    with pytest.raises(InputError, match="found no images; put them there"):
        load_data(str(tmp_path), backbone=backbone)
    _classes(tmp_path / "train", {"cat": 2})
    with pytest.raises(InputError, match="two classes at least"):
        load_data(str(tmp_path), backbone=backbone)
    _classes(tmp_path / "train", {"dog": 2})
    _classes(tmp_path / "val", {"cow": 2})
    with pytest.raises(InputError, match="'cow' is not among those of train/"):
        load_data(str(tmp_path), backbone=backbone)


def test_wrong_targets_name_file_and_row(tmp_path):
    backbone = small_backbone(task="regression")
    with pytest.raises(FileError, match=r"labels.csv: no such file"):
        load_data(str(tmp_path), backbone=backbone)
    (tmp_path / "labels.csv").write_text("file,target\nnone.png,1\n")
    with pytest.raises(FileError, match=r"row 2: no such image 'none.png'"):
        load_data(str(tmp_path), backbone=backbone)
    _image(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("file,target\na.png,tall\n")
    with pytest.raises(FileError, match=r"row 2: target must be a finite number, found 'tall'; correct the file"):
        load_data(str(tmp_path), backbone=backbone)
    (tmp_path / "labels.csv").write_text("file,target\na.png,1\na.png,nan\na.png,2\nb.png,2\na.png,inf\n")
    with pytest.raises(FileError, match=r"row 3: target .*found 'nan' \(3 of 5 rows are wrong, this is the first\)"):
        load_data(str(tmp_path), backbone=backbone)


def test_an_empty_class_folder_is_refused(tmp_path, backbone):
    _classes(tmp_path / "train", {"cat": 2, "dog": 2})
    _classes(tmp_path / "val", {"cat": 2})
    for name in ("ant", "bee"):
        (tmp_path / "train" / name).mkdir()
    with pytest.raises(InputError, match="train: 2 of 4 class folders hold no image, the first is 'ant'"):
        load_data(str(tmp_path), backbone=backbone)


def test_classes_and_files_stand_in_timms_order(tmp_path, backbone):
    from timm.data import create_dataset

    _classes(tmp_path / "train", {"class10": 1, "class2": 1, "Class1": 1})
    _classes(tmp_path / "train" / "class2", {"deeper": 2}, start=9)
    _classes(tmp_path / "val", {"class10": 2}, start=20)
    data = load_data(str(tmp_path), backbone=backbone)
    assert data.classes == ("Class1", "class2", "class10")
    timms = create_dataset("", root=str(tmp_path / "train"))
    own = [file.rsplit("/", 1)[1] for file in data.heads.files]
    assert own == timms.filenames(basename=True)
    assert data.heads.labels.tolist() == [0, 1, 1, 1, 2]  # timm would make `deeper` a class of its own


@pytest.mark.parametrize("prefix", ["", "folder:"])
def test_a_folder_may_be_named_as_one(tmp_path, backbone, prefix):
    _classes(tmp_path, {"a": 10, "b": 10})
    data = load_data(f"{prefix}{tmp_path}", backbone=backbone)
    assert data.name == str(tmp_path)
    assert data_outputs(f"{prefix}{tmp_path}") == 2


def test_a_folder_goes_before_a_name_of_timms(tmp_path, backbone, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _classes(tmp_path / "torch" / "cifar10", {"a": 10, "b": 10})
    assert load_data("torch/cifar10", backbone=backbone).classes == ("a", "b")


def test_paths_are_those_that_went_in(tmp_path):
    names = ["a/b.png", "ü/é.png", "x.png", "a\udcff.png"]
    paths = Paths(tmp_path, names)
    assert list(paths) == [f"{tmp_path}/{name}" for name in names]
    assert paths[-1] == paths[3]
    assert paths[1:3] == [f"{tmp_path}/{name}" for name in names[1:3]]
    with pytest.raises(IndexError):
        paths[4]
    assert list(Paths(tmp_path, [])) == []


@pytest.mark.parametrize(
    ("task", "labels", "words"),
    [
        (
            "classification",
            {3: 12, 7: -1},
            "must be from 0 to 9, 2 of the 997 .* heads are not, the first is 12",
        ),
        ("regression", {5: float("nan")}, "finite numbers, 1 of the 997 .* the first is nan .sample 5."),
    ],
)
def test_labels_that_nobody_can_learn_are_counted(task, labels, words):
    backbone = small_backbone(task=task)
    data = load_data("digits", backbone=backbone)
    check_data(backbone, data)
    for sample, label in labels.items():
        data.heads.labels[sample] = label
    with pytest.raises(InputError, match=words):
        check_data(backbone, data)


def test_data_for_other_outputs_is_refused(backbone):
    data = load_data("digits", backbone=backbone, task="regression")
    with pytest.raises(UnsupportedError, match=r"needs 1 outputs \(regression\).* has 10 \(classification\)"):
        check_data(backbone, data)


def test_channels_are_averaged_or_repeated():
    """The mean of (0.3, 0.6, 0.9) is 0.6."""
    colours = torch.tensor([0.3, 0.6, 0.9])[None, :, None, None].expand(1, 3, 2, 2)
    torch.testing.assert_close(Prepare((1, 2, 2), **PLAIN)(colours), torch.full((1, 1, 2, 2), 0.6))
    grey = torch.full((1, 1, 2, 2), 0.25)
    assert Prepare((3, 2, 2), (0.0,) * 3, (1.0,) * 3)(grey).shape == (1, 3, 2, 2)
    with pytest.raises(InputError, match="images of 3 channels cannot feed a backbone with 4"):
        Prepare((4, 2, 2), (0.0,) * 4, (1.0,) * 4)(colours)


def test_images_are_resized_and_cropped_in_the_middle():
    """A 4 x 8 image whose columns hold 0..7: the shorter side is right, so the middle columns 2..5 remain."""
    columns = torch.arange(8.0).expand(1, 1, 4, 8)
    torch.testing.assert_close(Prepare((1, 4, 4), **PLAIN)(columns), columns[..., 2:6])
    assert Prepare((1, 16, 16), **PLAIN, crop_pct=0.9)(columns).shape == (1, 1, 16, 16)
    assert Prepare((1, 6, 10), **PLAIN)(columns).shape == (1, 1, 6, 10)
