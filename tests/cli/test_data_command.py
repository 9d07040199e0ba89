"""Data on the command line: where it is looked for, what is said of it, and that processes that read change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from exitsearch.cli.main import main

TRAIN = ["train-heads", "--model", "vit_digits_patch1_8", "--heads", "linear", "--placements", "2"]
TRAIN += ["--epochs", "1", "--batch-size", "4", "--threads", "1", "--no-pretrained", "--seed", "1"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for split, count in (("train", 9), ("val", 4)):
        for name in ("cat", "dog"):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(argv, capsys):
    status = main(argv)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return status, (captured.err.strip().splitlines() or [""])[-1]


def test_processes_that_read_change_nothing(here, capsys):
    assert main([*TRAIN, "--data", "folder:pets"]) == 0
    assert main([*TRAIN, "--data", "pets", "--workers", "2", "--out", "again"]) == 0
    capsys.readouterr()
    first = here / "outcomes" / "vit_digits_patch1_8__pets"
    files = sorted(path.relative_to(first) for path in first.rglob("*.safetensors"))
    assert any(path.parts[0] == "heads" for path in files)
    for file in files:
        one, other = load_file(first / file), load_file(here / "again" / file)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), file


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (["pets"], "2 of 26 images cannot be read, the first is pets/train/dog/3.png"),
        (["folder:none"], "no folder 'none'"),
        (
            ["torch/fashion_mnist"],
            "unpacked (train-images-idx3-ubyte and so on), in data/FashionMNIST/raw",
        ),
        (["torch/mnist", "--data-dir", "there"], "in there/MNIST/raw"),
        (["torch/nmist"], "unknown data set of torch/ 'nmist' (did you mean 'mnist'?)"),
        (["pets", "--workers", "-1"], "a whole number from 0 is needed, found '-1'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["", "dry"])
def test_what_is_wrong_is_one_sentence_and_nothing_is_written(here, capsys, data, words, dry):
    for number in (3, 5):
        path = here / "pets" / "train" / "dog" / f"{number}.png"
        path.write_bytes(path.read_bytes()[:-40])
    before = sorted(here.rglob("*"))
    argv = [*TRAIN, *dry, "--data", *data]
    status, sentence = said(argv, capsys)
    assert (status, words in sentence) == (2, True), sentence
    assert sorted(here.rglob("*")) == before


def test_an_image_that_rots_after_the_look_keeps_what_was_trained(here, capsys, monkeypatch):
    """Broken between the look at all files and its first use: the batch says so; mended, the run goes on."""
    from exitsearch.learn.data import folder

    check, path = folder.check_images, here / "pets" / "train" / "cat" / "1.png"
    whole = path.read_bytes()

    def check_and_break(files, **options):
        check(files, **options)
        path.write_bytes(b"\0" * len(whole))

    with monkeypatch.context() as patched:
        patched.setattr(folder, "check_images", check_and_break)
        status, sentence = said([*TRAIN, "--data", "pets"], capsys)
    assert status == 2
    assert "1 of the 4 images of a batch cannot be read, the first is pets/train/cat/1.png" in sentence
    assert "put the original back and run the same command again" in sentence
    path.write_bytes(whole)
    assert said([*TRAIN, "--data", "pets"], capsys)[0] == 0
