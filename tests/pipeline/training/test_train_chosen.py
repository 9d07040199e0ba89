"""exitsearch.train: what a model begins with, what it learns from, what it leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_data import RECIPE, small_backbone, small_digits
from small_training import EXITS, small_config, small_model

import exitsearch
from exitsearch.errors import InputError, MismatchError
from exitsearch.learn.bank.train import train_bank
from exitsearch.learn.data.digits import digits_splits
from exitsearch.pipeline.training.start import take_heads
from exitsearch.pipeline.training.teacher import load_teacher
from exitsearch.pipeline.watch import Silent


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to work in, with the outcomes of trained heads where they are looked for."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("bank")
    backbone = small_backbone()
    out = folder / "outcomes" / "vit_digits_patch1_8__digits"
    train_bank(backbone, small_digits(backbone), out=out, exits=EXITS, recipe=RECIPE)
    return folder


def begun(bank: Path, monkeypatch: pytest.MonkeyPatch, *, start: str | None, count: int = 30, seed: int = 0):
    """A fresh model once it has been given the heads to begin with, and where these are from."""
    monkeypatch.chdir(bank)
    model = small_model()
    model.backbone.weights = f"random:{seed}"
    return model, take_heads(model, small_digits(model.backbone, count=count), start=start)


def is_warm(model, bank: Path) -> bool:
    own = load_file(bank / "outcomes" / "vit_digits_patch1_8__digits" / "heads" / "4__linear.safetensors")
    return all(torch.equal(own[name], tensor) for name, tensor in model.heads[1].state_dict().items())


def test_heads_that_stand_are_begun_with(bank: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, found = begun(bank, monkeypatch, start=None)
    assert found == Path("outcomes/vit_digits_patch1_8__digits")
    assert is_warm(model, bank)
    assert model.backbone.final_is_trained, "the final classifier was trained along"
    model, found = begun(bank, monkeypatch, start=str(found))
    assert is_warm(model, bank)


def test_heads_of_other_data_or_weights_are_not_found(bank: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ({"count": 20}, {"seed": 1}):
        model, found = begun(bank, monkeypatch, start=None, **given)
        assert found is None
        assert not is_warm(model, bank)


def test_fresh_heads_are_fresh(bank: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, found = begun(bank, monkeypatch, start="fresh")
    assert found is None
    assert not is_warm(model, bank)


def test_heads_of_other_data_are_refused_where_they_are_named(bank: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = "outcomes/vit_digits_patch1_8__digits"
    with pytest.raises(MismatchError, match="were trained on digits first 30, the data here are digits first 20"):
        begun(bank, monkeypatch, start=folder, count=20)
    with pytest.raises(MismatchError, match="trained over the backbone weights random:0, this model has random:1"):
        begun(bank, monkeypatch, start=folder, seed=1)


def test_a_teacher_sees_the_same_picture(tmp_path: Path) -> None:
    """A teacher of the student's own kind is asked as it is; one of another size and channels after translation."""
    student = small_backbone()
    save_file(student.module.state_dict(), tmp_path / "own.safetensors")
    inputs = small_digits(student).heads.batch([0, 1])[0]
    with torch.no_grad():
        own = load_teacher(str(tmp_path / "own.safetensors"), student=student)
        assert torch.equal(own(inputs), student(inputs))
        other = exitsearch.create_backbone("test_vit", pretrained=False, num_outputs=10)
        save_file(other.module.state_dict(), tmp_path / "other.safetensors")
        bigger = load_teacher(f"test_vit:{tmp_path / 'other.safetensors'}", student=student)
        images = torch.from_numpy(digits_splits()["heads"].images[:2])
        config = other.module.pretrained_cfg
        size = other.input_size[1:]
        resized = torch.nn.functional.interpolate(
            images.expand(-1, 3, -1, -1), size=size, mode="bicubic", antialias=True
        )
        mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        assert torch.allclose(bigger(inputs), other((resized - mean) / std), atol=1e-4)


def test_a_teacher_of_other_outputs_is_refused(tmp_path: Path) -> None:
    student = small_backbone(task="regression")
    other = small_backbone()
    save_file(other.module.state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(InputError):
        load_teacher(str(tmp_path / "other.safetensors"), student=student)


def test_from_python_and_once_more(bank: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Over the frozen backbone, so that the outcomes of the trained model keep the name of its weights."""
    monkeypatch.chdir(tmp_path)
    made = small_config()
    monkeypatch.setattr("exitsearch.learn.data.load_data", lambda *args, backbone, **more: small_digits(backbone))
    found = exitsearch.train(
        made,
        data="digits",
        recipe="layerwise",
        epochs=1,
        batch_size=15,
        pretrained=False,
        threads=1,
        out="out",
        watch=Silent(),
    )
    assert found.folder == Path("out")
    assert found.kept is not None
    assert np.isfinite(found.scores["report"]).all()
    outcomes = exitsearch.load_outcomes("out/outcomes")
    assert [head.scores["choice"] for head in outcomes.heads] == pytest.approx(found.scores["choice"][:-1])
    assert outcomes.training["recipe"] == "layerwise"
