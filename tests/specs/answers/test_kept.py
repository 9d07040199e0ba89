"""Kept answers: what they can say, what they cannot, and files that do not fit."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from exitsearch.errors import FileError
from exitsearch.specs.answers.confidence import sureness
from exitsearch.specs.answers.kept import (
    KeptOutputs,
    NotKeptError,
    classes_rows,
    exit_file,
    new_classes_file,
    new_targets_file,
    parse_exit_file,
    read_kept,
    read_labels,
    read_targets,
    write_kept,
)

OUTPUTS = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
KEPT = KeptOutputs.of(OUTPUTS, temperature=1.7)


def test_what_is_kept() -> None:
    sure = sureness(OUTPUTS, temperature=1.7)
    assert np.array_equal(KEPT.prediction, OUTPUTS.argmax(axis=1))
    assert np.array_equal(KEPT.confidence, sure.largest)
    assert np.array_equal(KEPT.raw_confidence, sureness(OUTPUTS).largest)
    assert np.array_equal(KEPT.score("softmax"), sure.largest)
    assert np.array_equal(KEPT.score("margin"), sure.margin)
    assert KEPT.score("entropy") == pytest.approx(1 - sure.entropy / np.log(4), abs=1e-6)
    assert (len(KEPT), KEPT.shape, KEPT.ndim, KEPT.size) == (9, (9, 4), 2, 36)
    assert KEPT.prediction.dtype == np.int16
    many = KeptOutputs.of(np.zeros((1, 40_000), dtype=np.float32), temperature=1.0)
    assert many.prediction.dtype == np.int32


def test_it_stands_where_outputs_stand() -> None:
    for found in (KEPT.argmax(axis=1), KEPT.argmax(1), KEPT.argmax(-1), np.argmax(KEPT, axis=1)):
        assert np.array_equal(found, OUTPUTS.argmax(axis=1))
    part = KEPT[np.array([3, 1])]
    assert np.array_equal(part.margin, KEPT.margin[[3, 1]])
    assert len(KEPT[2:5]) == 3
    assert len(KEPT[KEPT.prediction == 1]) == np.count_nonzero(KEPT.prediction == 1)
    joined = KeptOutputs.joined([KEPT[:4], KEPT[4:]])
    assert np.array_equal(joined.entropy, KEPT.entropy)
    assert copy.deepcopy(KEPT).temperature == 1.7


@pytest.mark.parametrize(
    "ask",
    [
        lambda o: o.max(axis=1),
        lambda o: o.argmax(),
        lambda o: o.argmax(axis=0),
        lambda o: o[:, 1],
        lambda o: o[3],
        lambda o: o - o,
        lambda o: o > 0,
        lambda o: o == OUTPUTS,
        lambda o: 2.0 * o,
        lambda o: np.float64(2) * o,
        lambda o: np.exp(o),
        lambda o: np.asarray(o),
        lambda o: o.astype(np.float64),
        lambda o: np.sort(o, axis=1),
    ],
)
def test_what_was_not_kept_is_said(ask: Any) -> None:
    with pytest.raises(
        NotKeptError, match=r"not the outputs; make them again with exitsearch train-heads --keep-logits"
    ):
        ask(KEPT)


@pytest.mark.parametrize(("placement", "head"), [(0, "linear"), (11, "gah(stride=2)"), (3, "a/b__c d(e=x/y)")])
def test_names_of_files(placement: int, head: str) -> None:
    name = exit_file(placement, head)
    assert "/" not in name
    assert parse_exit_file(name) == (placement, head)


@pytest.mark.parametrize(
    "name", ["labels.safetensors", "final.safetensors", "x__linear.safetensors", ".0__a.12.partial"]
)
def test_names_of_other_files(name: str) -> None:
    assert parse_exit_file(name) is None


def test_files_give_back_what_was_written(tmp_path: Path) -> None:
    write_kept(tmp_path / "a.safetensors", KEPT)
    found = read_kept(tmp_path / "a.safetensors")
    for name in ("prediction", "raw_confidence", "confidence", "entropy", "margin"):
        assert np.array_equal(getattr(found, name), getattr(KEPT, name))
        assert getattr(found, name).dtype == getattr(KEPT, name).dtype
    assert (found.temperature, found.classes, found.full()) == (1.7, 4, None)
    # 18 bytes a sample, whatever the number of classes, and a header.
    assert (tmp_path / "a.safetensors").stat().st_size < 9 * 18 + 600


def test_outputs_may_be_kept_along(tmp_path: Path) -> None:
    outputs = OUTPUTS.copy()
    outputs[0, 0] = 1e6  # beyond float16
    file = new_classes_file(tmp_path / "a", samples=9, classes=4, temperature=1.7, keep_outputs=True)
    file.write(0, classes_rows(KeptOutputs.of(outputs, temperature=1.7), outputs))
    file.finish()
    full = read_kept(tmp_path / "a").full()
    assert full is not None
    assert full.dtype == np.float32
    assert full[0, 0] == 65504
    assert np.array_equal(full[1:], outputs[1:].astype(np.float16).astype(np.float32))
    part = read_kept(tmp_path / "a")[2:4].full()
    assert part is not None
    assert np.array_equal(part, full[2:4])


def test_targets_are_outputs(tmp_path: Path) -> None:
    answers = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    file = new_targets_file(tmp_path / "a", samples=5, targets=2)
    file.write(0, {"prediction": answers})
    file.finish()
    assert np.array_equal(read_targets(tmp_path / "a"), answers)


def _changed(path: Path, facts: dict[str, str] | None = None, **tensors: Any) -> Path:
    write_kept(path, KEPT)
    whole = {**load_file(path), **tensors}
    facts = {"temperature": "1.7", "classes": "4"} if facts is None else facts
    save_file({name: tensor for name, tensor in whole.items() if tensor is not None}, path, metadata=facts)
    return path


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"prediction": np.full(9, 4, np.int16)}, "prediction must be from 0 to 3, found 4"),
        ({"prediction": np.full(9, -1, np.int16)}, "prediction must be from 0 to 3, found -1"),
        ({"prediction": np.zeros(9, np.float32)}, "prediction must be whole numbers [samples], found float32 [9]"),
        ({"prediction": np.zeros(0, np.int16)}, "prediction must be whole numbers [samples], found int16 [0]"),
        ({"margin": np.zeros(8, np.float32)}, "margin must be finite float32 [9], found float32 [8]"),
        ({"margin": np.full(9, np.nan, np.float32)}, "margin must be finite float32 [9]"),
        ({"entropy": None}, "the tensor 'entropy' is missing"),
        ({"facts": {}}, "its facts must hold temperature and classes"),
        ({"facts": {"temperature": "0", "classes": "4"}}, "temperature must be above 0"),
        ({"facts": {"temperature": "inf", "classes": "4"}}, "temperature must be above 0"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(FileError) as caught:
        read_kept(_changed(tmp_path / "a.safetensors", **changed))
    assert str(caught.value).startswith(f"{tmp_path / 'a.safetensors'}: ")
    assert words in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(FileError, match="no such file; make the outcomes again"):
        read_labels(path)
    path.write_bytes(b"half a file")
    with pytest.raises(FileError, match="not a valid safetensors file"):
        read_kept(path)
    save_file({"prediction": np.full((3, 1), np.inf, np.float32)}, path)
    with pytest.raises(FileError, match=r"prediction must be finite float32 \[samples, targets\]"):
        read_targets(path)


def test_outputs_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = _changed(tmp_path / "a.safetensors", outputs=np.zeros((9, 3), np.float16))
    with pytest.raises(FileError, match=r"outputs must be float16 \[9, 4\], found float16 \[9, 3\]"):
        read_kept(path).full()


def test_kept_answers_of_two_exits_do_not_join() -> None:
    with pytest.raises(AssertionError):
        KeptOutputs.joined([KEPT, replace(KEPT, temperature=2.0)])
