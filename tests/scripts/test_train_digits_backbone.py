"""A step or two of training the embedded backbone, and its parts."""

from __future__ import annotations

import pytest
import small_vit
import timm
import torch
import train_digits_backbone
from safetensors.torch import load_file

from exitsearch.learn.data.digits import digits_splits
from exitsearch.specs.backbone import EMBEDDED_NAME


def test_smallest(call, tmp_path):
    weights = tmp_path / "new" / "weights.safetensors"
    called = call("train_digits_backbone", "--epochs", "2", "--samples", "32", "--seed", "3", "--out", weights)
    assert called.status == 0
    found = called.figures
    assert (found["backbone"], found["epochs"], found["samples"], found["seed"]) == (EMBEDDED_NAME, 2, 32, 3)
    model = timm.create_model(EMBEDDED_NAME)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(load_file(weights), strict=True)
    assert found["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert any(not torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    sizes = {name: len(split.labels) for name, split in digits_splits().items()}
    for name in sizes:
        assert 0 <= found[f"accuracy_{name}"] <= 1
    held_out = sum(sizes[name] * found[f"accuracy_{name}"] for name in ("choice", "report"))
    assert found["accuracy_held_out"] == pytest.approx(held_out / (sizes["choice"] + sizes["report"]), abs=2e-4)
    assert "epoch 2/2: loss " in called.out
    assert f"accuracy_held_out: {found['accuracy_held_out']}\n" in called.out


def test_less_than_a_batch_is_refused(tmp_path, capsys):
    weights = tmp_path / "weights.safetensors"
    assert train_digits_backbone.main(["--samples", "31", "--out", str(weights)]) == 2
    assert capsys.readouterr().err.startswith("train_digits_backbone: --samples must be 32 or more")
    assert not weights.exists()


def test_training_learns():
    """Two classes that one number tells apart."""
    torch.manual_seed(0)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))

        def forward(self, x):
            return self.blocks(x)

    labels = torch.arange(64) % 2
    images = labels.reshape(-1, 1, 1, 1).float().expand(-1, 1, 8, 8) * 2 - 1
    model = Model()
    trained = small_vit.train(
        model,
        (images, labels),
        epochs=30,
        batch_size=32,
        augment=small_vit.random_affine,
        generator=torch.Generator().manual_seed(0),
    )
    assert small_vit.accuracy(trained, images, labels) == 1


def test_random_affine_keeps_shape_and_range():
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    changed = small_vit.random_affine(images, torch.Generator().manual_seed(1))
    assert changed.shape == images.shape
    assert not torch.allclose(changed, images)
    assert float(changed.min()) >= float(images.min()) - 1e-6
    assert float(changed.max()) <= float(images.max()) + 1e-6


def test_flip_mirrors_some_and_nothing_else():
    images = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    changed = small_vit.random_affine(images, torch.Generator().manual_seed(1), degrees=0, scale=0, pixels=0, flip=True)
    mirrored = [torch.allclose(b, a.flip(-1), atol=1e-5) for a, b in zip(images, changed, strict=True)]
    assert 5 < sum(mirrored) < 35
    same = [torch.allclose(b, a, atol=1e-5) for a, b in zip(images, changed, strict=True)]
    assert sum(same) == 40 - sum(mirrored)


def test_matrices_of_blocks_go_to_muon():
    optimizers = small_vit.make_optimizers(model := timm.create_model(EMBEDDED_NAME))
    muon, others = ([p for group in o.param_groups for p in group["params"]] for o in optimizers)
    assert len(muon) + len(others) == len(list(model.parameters()))
    assert {p.ndim for p in muon} == {2}
