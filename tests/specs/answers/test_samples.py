"""Samples files: what does not fit is one sentence that names file, tensor, rule and what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from exitsearch.errors import FileError, InputError
from exitsearch.specs.answers.kept import KeptOutputs, write_kept
from exitsearch.specs.answers.samples import (
    Samples,
    load_samples,
    read_samples,
    samples_frame,
    samples_path,
    write_samples,
)
from exitsearch.specs.document import write_json
from exitsearch.specs.load import load_outcomes
from exitsearch.specs.outcomes import SCORE_TOLERANCE

LABELS = np.array([0, 1, 1, 0])
OUTPUTS = np.eye(2, dtype=np.float32)[[0, 1, 1, 1]]  # three of four are right


def folder(tmp_path: Path, *, metric: str = "accuracy", scores: tuple[float, float] = (0.75, 0.75)) -> Path:
    """Outcomes of one head and the final exit, with one split."""
    write_json(
        tmp_path / "outcomes.json",
        {
            "schema_version": 1,
            "backbone": {"name": "toy"},
            "metric": metric,
            "fallback": 1.0 if metric == "mae" else 0.0,
            "splits": {"choice": 4},
            "heads": [{"placement": 0, "head": "a", "scores": {"choice": scores[0]}}],
            "final": {"scores": {"choice": scores[1]}},
        },
    )
    samples(tmp_path)
    return tmp_path


def samples(tmp_path: Path, **changed: Any) -> Path:
    tensors = {"labels": LABELS, "0/a": OUTPUTS, "final": OUTPUTS, **changed}
    save_file({name: tensor.copy(order="C") for name, tensor in tensors.items()}, tmp_path / "choice.safetensors")
    return tmp_path / "choice.safetensors"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"labels": np.array([0, 1, 99, 0])}, "labels must be from 0 to 1, as many as outputs, found 99"),
        ({"labels": np.array([0, 1, -1, 0])}, "labels must be from 0 to 1, as many as outputs, found -1"),
        ({"labels": LABELS[:, None]}, "labels must be whole numbers [4], one a row of outputs, found int64 [4, 1]"),
        (
            {"labels": LABELS.astype(np.float32)},
            "labels must be whole numbers [4], one a row of outputs, found float32",
        ),
        ({"labels": LABELS.astype(bool)}, "found bool [4]"),
        ({"labels": LABELS[:3]}, "a label is needed for each of 4 rows of outputs, found 3 labels"),
        ({"labels": np.array(1)}, "found one label alone"),
        ({"0/a": OUTPUTS[:, 0]}, "0/a must be decimal numbers [4, 2], as final is, found float32 [4]"),
        ({"0/a": OUTPUTS[:3]}, "found float32 [3, 2]"),
        ({"0/a": OUTPUTS.astype(np.int64)}, "found int64 [4, 2]"),
        ({"final": OUTPUTS[:, 0]}, "final must be decimal numbers [samples, num_outputs], found float32 [4]"),
        ({"final": OUTPUTS[:0], "labels": LABELS[:0]}, "found float32 [0, 2]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_samples_that_do_not_fit(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    outcomes = load_outcomes(folder(tmp_path))
    path = samples(tmp_path, **changed)
    for read in (lambda: outcomes.samples("choice"), lambda: load_outcomes(tmp_path)):
        with pytest.raises(InputError) as caught:
            read()
        assert words in str(caught.value)
        assert str(path) in str(caught.value)


def test_scores_are_those_of_the_samples(tmp_path: Path) -> None:
    near = 0.75 + 0.9 * SCORE_TOLERANCE
    assert load_outcomes(folder(tmp_path, scores=(near, 0.75))).values() == {(0, "a"): near}
    with pytest.raises(
        FileError, match=r"samples of 0/a have accuracy 0\.75, outcomes\.json says 0\.8 for the split choice"
    ):
        load_outcomes(folder(tmp_path, scores=(0.8, 0.75)))
    with pytest.raises(FileError, match=r"samples of final have accuracy 0\.75, outcomes\.json says 0\.7502"):
        load_outcomes(folder(tmp_path, scores=(0.75, 0.75 + 2 * SCORE_TOLERANCE)))


def test_early_scores_are_not_those_of_the_samples(tmp_path: Path) -> None:
    """`outcomes-<epoch>.json`, which a training keeps beside the samples of its end."""
    (folder(tmp_path, scores=(0.5, 0.75)) / "outcomes.json").rename(tmp_path / "outcomes-1.json")
    assert load_outcomes(tmp_path / "outcomes-1.json").values() == {(0, "a"): 0.5}


def test_errors_are_compared_by_their_share(tmp_path: Path) -> None:
    """Targets 1 and answers 1.5 and 2, of two targets each: a mean error of 0.75."""
    tensors = {"labels": np.ones((4, 2)), "0/a": np.tile(np.float32([1.5, 2.0]), (4, 1))}
    folder(tmp_path, metric="mae", scores=(0.75, 0.75))
    samples(tmp_path, **tensors, final=tensors["0/a"])
    assert load_outcomes(tmp_path).values() == {(0, "a"): -0.75}
    folder(tmp_path, metric="mae", scores=(0.76, 0.75))
    samples(tmp_path, **tensors, final=tensors["0/a"])
    with pytest.raises(FileError, match=r"0/a have mae 0\.75, outcomes\.json says 0\.76"):
        load_outcomes(tmp_path)


def test_a_file_that_may_not_be_read_is_not_called_missing(tmp_path: Path) -> None:
    path = tmp_path / "report.safetensors"
    with pytest.raises(FileError, match=r"no such file; make the outcomes again"):
        read_samples(path, [], classes=True)
    path.symlink_to(path)  # permissions do not hold for root; a link to itself may not be opened by anybody
    with pytest.raises(FileError, match=r"report\.safetensors: cannot be read: Too many levels"):
        read_samples(path, [], classes=True)


def kept_folder(tmp_path: Path) -> Path:
    """The same outcomes with answers alone."""
    folder(tmp_path)
    samples = load_samples(tmp_path, "choice", [(0, "a")], classes=True)
    kept = KeptOutputs.of(OUTPUTS, temperature=2.0)
    write_samples(tmp_path, "choice", Samples(samples.labels, {(0, "a"): kept}, kept))
    return tmp_path


def test_answers_are_read_where_they_stand(tmp_path: Path) -> None:
    outcomes = load_outcomes(kept_folder(tmp_path))
    assert samples_path(tmp_path, "choice") == tmp_path / "answers" / "choice"
    found = outcomes.samples("choice")
    assert found is not None
    assert isinstance(found.final, KeptOutputs)
    assert found.outputs[0, "a"].argmax(axis=1).tolist() == [0, 1, 1, 1]
    (tmp_path / "choice.safetensors").unlink()
    assert load_outcomes(tmp_path).values() == {(0, "a"): 0.75}


def test_raw_outputs_go_back_into_one_file(tmp_path: Path) -> None:
    raw = load_samples(folder(tmp_path), "choice", [(0, "a")], classes=True)
    write_samples(tmp_path / "copy", "choice", raw)
    again = load_samples(tmp_path / "copy", "choice", [(0, "a")], classes=True)
    assert np.array_equal(again.final, OUTPUTS)
    assert np.array_equal(again.labels, LABELS)


@pytest.mark.parametrize(
    ("file", "tensors", "words"),
    [
        ("labels", {"labels": np.array([0, 1, 2, 0])}, "labels must be from 0 to 1, as many as outputs, found 2"),
        ("labels", {"labels": LABELS[:3].copy()}, "a label is needed for each of 4 rows of outputs, found 3 labels"),
        ("labels", {"label": LABELS}, "the tensor 'labels' is missing"),
        ("0__a", {"prediction": LABELS.astype(np.int16)}, "the tensor 'raw_confidence' is missing"),
    ],
)
def test_answers_that_do_not_fit(tmp_path: Path, file: str, tensors: dict[str, Any], words: str) -> None:
    path = kept_folder(tmp_path) / "answers" / "choice" / f"{file}.safetensors"
    save_file(tensors, path)
    with pytest.raises(InputError) as caught:
        load_outcomes(tmp_path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_answers_of_another_number_of_samples_or_classes_are_refused(tmp_path: Path) -> None:
    place = kept_folder(tmp_path) / "answers" / "choice" / "0__a.safetensors"
    for wrong in (OUTPUTS[:3], np.zeros((4, 3), np.float32)):
        write_kept(place, KeptOutputs.of(wrong, temperature=1.0))
        with pytest.raises(FileError, match=r"0__a.safetensors: answers must be \[4, 2\], as those of the final exit"):
            load_outcomes(tmp_path)
    place.unlink()
    with pytest.raises(FileError, match=r"0__a.safetensors: no such file; make the outcomes again"):
        load_outcomes(tmp_path)


def test_scores_are_those_of_the_answers(tmp_path: Path) -> None:
    kept_folder(tmp_path)
    write_kept(tmp_path / "answers/choice/0__a.safetensors", KeptOutputs.of(1 - OUTPUTS, temperature=1.0))
    with pytest.raises(FileError, match=r"samples of 0/a have accuracy 0\.25, outcomes\.json says 0\.75"):
        load_outcomes(tmp_path)


def test_a_frame_of_several_targets() -> None:
    labels, answers = np.arange(6.0).reshape(3, 2), np.arange(6, dtype=np.float32).reshape(3, 2) + 1
    frame = samples_frame(Samples(labels, {(2, "a"): answers}, answers), temperatures={})
    assert list(frame)[3:] == ["label_0", "label_1", "prediction_0", "prediction_1"]
    assert frame["prediction_1"].tolist() == [2, 4, 6] * 2
    assert frame["placement"].tolist()[:3] == [2, 2, 2]
    assert frame["head"].tolist()[3:] == ["final"] * 3
