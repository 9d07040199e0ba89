"""A step or two of training the embedded backbone of Fashion-MNIST, on photographs made here in the same files."""

from __future__ import annotations

import numpy as np
import timm
import torch
import train_fashion_backbone
from safetensors.torch import load_file

from exitsearch.learn.bank.denormals import flushes_denormals
from exitsearch.specs.backbone import FASHION_NAME


def write_idx(path, array):
    """As the data set's own files: two zeros, the type (8: bytes), the number of sides, each side, the bytes."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def photographs(folder, *, train, test):
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    drawn = np.random.default_rng(0)
    for name, count in (("train", train), ("t10k", test)):
        write_idx(raw / f"{name}-images-idx3-ubyte", drawn.integers(0, 256, (count, 28, 28)))
        write_idx(raw / f"{name}-labels-idx1-ubyte", np.arange(count) % 10)
    return folder


def test_smallest(call, tmp_path, monkeypatch):
    monkeypatch.setattr(train_fashion_backbone, "TRAINED_ON", 128)
    weights = tmp_path / "weights.safetensors"
    data = photographs(tmp_path / "data", train=140, test=20)
    called = call("train_fashion_backbone", "--data-dir", data, "--epochs", "1", "--seed", "3", "--out", weights)
    assert not flushes_denormals()
    assert called.status == 0
    found = called.figures
    assert (found["backbone"], found["epochs"], found["samples"], found["seed"]) == (FASHION_NAME, 1, 128, 3)
    model = timm.create_model(FASHION_NAME)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(load_file(weights), strict=True)
    assert found["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert any(not torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    for split, count in (("choice", 12), ("report", 20)):
        assert 0 <= found[f"accuracy_{split}"] <= 1
        assert abs(found[f"accuracy_{split}"] * count - round(found[f"accuracy_{split}"] * count)) < 0.01


def test_missing_files_are_named(tmp_path, capsys):
    assert train_fashion_backbone.main(["--data-dir", str(tmp_path)]) == 2
    assert "needs the unpacked files of Fashion-MNIST in FashionMNIST/raw" in capsys.readouterr().err
