"""The folder of a training: gone on in, taken as it is, or refused."""

from __future__ import annotations

import pytest
import torch
from small_training import same, stage, state, tiny_data, tiny_model, train

from exitsearch.errors import FileError, MismatchError


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data():
    return tiny_data()


def test_stopped_and_gone_on_is_the_same_as_never_stopped(tmp_path, data) -> None:
    asked = [stage("a", epochs=2, mixup=0.5, ema=0.8), stage("b", trains="heads", epochs=2)]
    whole, parts = tiny_model(), None
    first = train(tmp_path / "whole", data, *asked, model=whole)
    for until in (1, 2, 3, None):
        parts = tiny_model()
        found = train(tmp_path / "parts", data, *asked, model=parts, until=until)
        assert found.finished == (until is None)
    assert same(state(whole), state(parts))
    assert found.scores == first.scores


def test_a_finished_training_is_taken_as_it_is(tmp_path, data) -> None:
    first = train(tmp_path, data, stage())
    written = (tmp_path / "model.safetensors").stat().st_mtime_ns
    again = train(tmp_path, data, stage())
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == written
    assert again.scores == first.scores
    assert same(state(again.model), state(first.model))


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"seed": 1}, "seed"), ({"accumulate": 2}, "accumulate"), ({"judge": lambda scores: 0.0}, "criterion")],
)
def test_a_folder_with_another_training_is_refused(tmp_path, data, changes, key) -> None:
    train(tmp_path, data, stage(epochs=2), until=1)
    with pytest.raises(MismatchError, match=rf"holds a training that differs in {key}.*--restart"):
        train(tmp_path, data, stage(epochs=2), **changes)
    found = train(tmp_path, data, stage(epochs=2), restart=True, **changes)
    assert found.finished


def test_a_model_from_elsewhere_is_not_overwritten(tmp_path, data) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"dear")
    with pytest.raises(MismatchError, match="a model that this training did not write"):
        train(tmp_path, data, stage())
    assert (tmp_path / "model.safetensors").read_bytes() == b"dear"


def test_a_broken_checkpoint_is_one_sentence(tmp_path, data) -> None:
    train(tmp_path, data, stage(epochs=2), until=1)
    path = tmp_path / "training" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FileError, match="not a checkpoint that can be read"):
        train(tmp_path, data, stage(epochs=2))
