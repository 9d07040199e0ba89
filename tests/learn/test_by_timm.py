"""Data sets by timm's names, over tiny files in their usual layouts."""

from __future__ import annotations

import hashlib
import pickle
import struct
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from small_data import small_backbone
from torch.utils.data import IterableDataset

from exitsearch.errors import InputError, UnavailableError
from exitsearch.learn.data import batches, by_timm, check_data, data_outputs, in_order, load_data
from exitsearch.models.backbone import create_backbone

RNG = np.random.default_rng(0)


def idx(path, array):
    """A file of MNIST's format: the type (8: bytes) and number of dimensions, their sizes, the numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def fashion(tmp_path):
    """Sixty training images in a mixed order, and twenty of the test."""
    raw, found = tmp_path / "FashionMNIST" / "raw", {}
    for name, count in (("train", 60), ("t10k", 20)):
        images = RNG.integers(0, 256, (count, 28, 28))
        labels = RNG.permutation(np.arange(count) % 10)
        idx(raw / f"{name}-images-idx3-ubyte", images)
        idx(raw / f"{name}-labels-idx1-ubyte", labels)
        found[name] = images, labels
    return tmp_path, found


def cifar(folder, kind, monkeypatch, *, classes, counts):
    """CIFAR's pickled batches; torchvision knows the digests of the real ones, which these cannot have."""
    base = folder / kind.base_folder
    base.mkdir(parents=True)
    key = "labels" if classes == 10 else "fine_labels"

    def write(name, content):
        (base / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((base / name).read_bytes()).hexdigest()]

    def batch(count):
        return {"data": RNG.integers(0, 256, (count, 3072), dtype=np.uint8), key: list(RNG.integers(0, classes, count))}

    train = [write(name, batch(counts[0])) for name, _ in kind.train_list]
    test = [write(name, batch(counts[1])) for name, _ in kind.test_list]
    names = {kind.meta["key"]: [f"class {number}" for number in range(classes)]}
    meta = write(kind.meta["filename"], names)
    monkeypatch.setattr(kind, "train_list", train)
    monkeypatch.setattr(kind, "test_list", test)
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": meta[1]})


def test_fashion_mnist_for_a_backbone_of_one_channel(fashion):
    root, found = fashion
    backbone = create_backbone("vit_digits_patch1_8", pretrained=False, image_size=28)
    data = load_data("torch/fashion_mnist", backbone=backbone, root=root)
    images, labels = found["train"]
    assert [len(data.split(name)) for name in ("heads", "choice", "report")] == [48, 12, 20]
    assert data.heads.labels.tolist() == labels[:48].tolist()
    assert data.choice.labels.tolist() == labels[48:].tolist()
    assert data.report.labels.tolist() == found["t10k"][1].tolist()
    assert data.classes[9] == "Ankle boot"
    assert data_outputs("torch/fashion_mnist", root=root) == data.num_outputs == 10
    check_data(backbone, data)
    wanted = (torch.tensor(images[48:50] / 255, dtype=torch.float32)[:, None] - 0.305) / 0.376
    torch.testing.assert_close(data.choice.batch([0, 1])[0], wanted)
    assert data.heads.workers is None  # small images in memory


def test_grey_images_for_a_backbone_of_three_channels(fashion):
    root, found = fashion
    backbone = create_backbone("test_vit", pretrained=False, num_outputs=10)
    data = load_data("torch/Fashion_MNIST", backbone=backbone, root=root, workers=1)
    images, labels = next(batches(data.report, order=[[2, 0]]))
    assert images.shape == (2, *backbone.input_size)
    assert labels.tolist() == found["t10k"][1][[2, 0]].tolist()
    mean, std = (np.array(backbone.module.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
    pixels = images[0].numpy() * std + mean
    assert np.allclose(pixels, pixels[:1], atol=1e-5)


def test_identity_is_that_of_the_contents(fashion):
    root, found = fashion
    backbone = small_backbone()
    before = load_data("torch/fashion_mnist", backbone=backbone, root=root).identity
    assert load_data("torch/fashion_mnist", backbone=backbone, root=root).identity == before
    images, _ = found["t10k"]
    images[3, 5, 5] += 1 if images[3, 5, 5] < 255 else -1
    idx(root / "FashionMNIST" / "raw" / "t10k-images-idx3-ubyte", images)
    assert load_data("torch/fashion_mnist", backbone=backbone, root=root).identity != before


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar(tmp_path, monkeypatch, name, classes):
    kind = getattr(torchvision.datasets, name.upper())
    counts = (100, 40) if classes == 10 else (500, 50)
    cifar(tmp_path, kind, monkeypatch, classes=classes, counts=counts)
    backbone = create_backbone("test_vit", pretrained=False, num_outputs=classes, image_size=32)
    data = load_data(f"torch/{name}", backbone=backbone, root=tmp_path)
    total = len(kind.train_list) * counts[0]
    assert [len(data.split(key)) for key in ("heads", "choice", "report")] == [total * 4 // 5, total // 5, counts[1]]
    assert (data.num_outputs, data.classes[1]) == (classes, "class 1")
    dataset = kind(root=tmp_path, train=True)
    last = np.asarray(dataset.targets[total * 4 // 5 :])
    assert data.choice.labels.tolist() == last.tolist()
    own = data.choice.read([0])
    assert own.shape == (1, 3, 32, 32)
    check_data(backbone, data)


def test_an_image_folder_of_imagenets_shape_by_torchvisions_name(tmp_path, monkeypatch):
    """Torchvision's ImageNet wants its meta.bin; class folders, and two names for every class."""
    for split, count in (("train", 5), ("val", 3)):
        for wnid in ("n01440764", "n01443537"):
            (tmp_path / split / wnid).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (20, 16), (number, 0, 0)).save(tmp_path / split / wnid / f"{wnid}_{number}.JPEG")
    torch.save(({"n01440764": ("tench",), "n01443537": ("goldfish", "fish")}, ["n01440764"]), tmp_path / "meta.bin")
    backbone = create_backbone("test_vit", pretrained=False, num_outputs=2)
    data = load_data("torch/imagenet", backbone=backbone, root=tmp_path)
    assert [len(data.split(key)) for key in ("heads", "choice", "report")] == [8, 2, 6]
    assert data.classes == ("tench", "goldfish, fish")
    assert sorted(data.choice.labels.tolist()) == [0, 1]  # sorted by class, so a share of each
    assert {file.split("/")[-3] for file in data.report.files} == {"val"}
    # The same as a folder, which has its own split of val.
    folder = load_data(f"folder:{tmp_path}", backbone=backbone)
    assert [len(folder.split(key)) for key in ("heads", "choice", "report")] == [10, 3, 3]
    (tmp_path / "val" / "n01440764" / "n01440764_0.JPEG").write_bytes(b"")
    with pytest.raises(InputError, match=r"1 of 16 images cannot be read, the first is .*n01440764_0\.JPEG"):
        load_data("torch/imagenet", backbone=backbone, root=tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("torch/fashion_mnist", r"needs its four files, unpacked .* in .*/FashionMNIST/raw .*--data-dir.*--download"),
        ("torch/cifar10", r"needs the folder cifar-10-batches-py in "),
        ("torch/cifar12", r"unknown data set of torch/ 'cifar12' \(did you mean 'cifar1"),
    ],
)
def test_what_is_not_there_says_what_to_do(tmp_path, name, words):
    for ask in (
        lambda: load_data(name, backbone=small_backbone(), root=tmp_path / "none"),
        lambda: data_outputs(name, root=tmp_path / "none"),
    ):
        with pytest.raises(InputError, match=words):
            ask()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "package"), [("hfds/a/b", "datasets"), ("wds/a", "webdataset")])
def test_a_missing_package_is_named(monkeypatch, name, package):
    find = by_timm.importlib.util.find_spec
    monkeypatch.setattr(by_timm.importlib.util, "find_spec", lambda which: None if which == package else find(which))
    with pytest.raises(UnavailableError, match=f"read by the package {package}, which is not installed; pip install"):
        load_data(name, backbone=small_backbone())


class Hub:
    """A stand-in for the Hugging Face `datasets`: what timm's reader asks of it."""

    def __init__(self, splits):
        self.splits, self.offline = splits, []
        self.config = SimpleNamespace(HF_HUB_OFFLINE=False)

    def Image(self, decode):
        return decode

    def load_dataset(self, name, split, cache_dir):
        self.offline.append(self.config.HF_HUB_OFFLINE)
        if split not in self.splits:
            raise ValueError(f'Unknown split "{split}". Should be one of {list(self.splits)}.')
        return Rows(*self.splits[split])


class Rows:
    def __init__(self, images, labels):
        self.images, self.labels = images, labels
        feature = SimpleNamespace(names=["zero", "one"])
        self.info = SimpleNamespace(features={"label": feature}, splits=None)
        self._fingerprint = hashlib.md5(b"".join(images)).hexdigest()

    def cast_column(self, key, kind):
        return self

    def __len__(self):
        return len(self.images)

    def __getitem__(self, key):
        if key == "label":
            return self.labels
        return {"image": {"bytes": self.images[key]}, "label": self.labels[key]}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Five training images, of which each is its number's grey, sorted by class; a test split without labels."""

    def encoded(number):
        path = tmp_path / "one.png"
        Image.new("L", (8, 8), number).save(path)
        return path.read_bytes()

    made = Hub(
        {
            "train": ([encoded(number) for number in range(10)], [0] * 5 + [1] * 5),
            "test": ([encoded(50)] * 4, [-1] * 4),
            "validation": ([encoded(60 + number) for number in range(4)], [0, 1, 1, 0]),
        }
    )
    monkeypatch.setitem(sys.modules, "datasets", made)
    monkeypatch.setitem(sys.modules, "datasets.config", made.config)
    monkeypatch.delitem(sys.modules, "timm.data.readers.reader_hfds", raising=False)
    find = by_timm.importlib.util.find_spec
    monkeypatch.setattr(by_timm.importlib.util, "find_spec", lambda name: name == "datasets" or find(name))
    yield made
    sys.modules.pop("timm.data.readers.reader_hfds", None)


def test_a_hub_whose_test_has_no_labels(hub):
    backbone = create_backbone("vit_digits_patch1_8", pretrained=False, num_outputs=2)
    data = load_data("hfds/some/Set", backbone=backbone)
    assert [len(data.split(key)) for key in ("heads", "choice", "report")] == [8, 2, 4]
    assert data.report.labels.tolist() == [0, 1, 1, 0]
    assert data.classes == ("zero", "one")
    grey = data.report.read([0, 3])
    assert grey[:, 0, 0, 0].tolist() == [60, 63]
    images, labels = zip(*batches(data.choice, order=in_order(2, 1)), strict=True)
    numbers = [round(float(image[0, 0, 0, 0] * 0.376 + 0.305) * 255) for image in images]
    assert numbers == data.choice.numbers.tolist()
    assert torch.cat(labels).tolist() == [int(number >= 5) for number in numbers]
    assert set(hub.offline) == {True}
    assert not hub.config.HF_HUB_OFFLINE
    load_data("hfds/some/Set", backbone=backbone, download=True)
    assert hub.offline[-1] is False


def test_a_broken_image_of_a_hub_is_named_and_not_leapt_over(hub):
    hub.splits["train"][0][2] = b"no image"
    backbone = create_backbone("vit_digits_patch1_8", pretrained=False, num_outputs=2)
    data = load_data("hfds/some/Set", backbone=backbone)
    holder = data.heads if 2 in data.heads.numbers else data.choice
    with pytest.raises(InputError, match=r"hfds/some/Set \(item 2\): not an image"):
        holder.batch(list(range(len(holder))))


class Stream(IterableDataset):
    classes = ("zero", "one")

    def __init__(self, count, lost=0, start=0):
        self.count, self.lost, self.start = count, lost, start

    def __len__(self):
        return self.count

    def __iter__(self):
        for number in range(self.count - self.lost):
            yield Image.new("RGB", (8, 8), (self.start + number,) * 3), number % 2


def test_streams_are_taken_into_memory(monkeypatch):
    streams = {"train": Stream(20), "validation": Stream(6, start=100)}

    def create(name, *, split, **options):
        if split not in streams:
            raise RuntimeError(f"no split {split}")
        return streams[split]

    monkeypatch.setattr(by_timm, "create_dataset", create)
    monkeypatch.setattr(by_timm.importlib.util, "find_spec", lambda name: True)
    backbone = create_backbone("vit_digits_patch1_8", pretrained=False, num_outputs=2)
    data = load_data("wds/some", backbone=backbone)
    assert [len(data.split(key)) for key in ("heads", "choice", "report")] == [16, 4, 6]
    assert data.choice.read([0, 3])[:, 0, 0, 0].tolist() == [16, 19]
    assert data.report.read([5])[:, 0, 0, 0].tolist() == [105]
    assert data_outputs("wds/some") == 2
    identity = data.identity
    monkeypatch.setattr(Stream, "classes", None)
    with pytest.raises(InputError, match="does not say how many classes it has; say it with --num-outputs"):
        data_outputs("wds/some")
    three = create_backbone("vit_digits_patch1_8", pretrained=False, num_outputs=3)
    assert load_data("wds/some", backbone=three).classes == ("0", "1", "2")
    streams["train"] = Stream(20, start=1)
    assert load_data("wds/some", backbone=backbone).identity != identity
    streams["train"] = Stream(20, lost=3)
    with pytest.raises(InputError, match="wds/some: 3 of 20 images cannot be read"):
        load_data("wds/some", backbone=backbone)
    monkeypatch.setattr(by_timm, "_MOST_BYTES", 500)
    with pytest.raises(InputError, match="unpack it into a folder"):
        load_data("wds/some", backbone=backbone)
