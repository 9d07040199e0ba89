"""Samples files: what does not fit is one sentence that names file, tensor, rule and what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from exitsearch.errors import FileError, InputError
from exitsearch.specs.document import write_json
from exitsearch.specs.load import load_outcomes
from exitsearch.specs.outcomes import SCORE_TOLERANCE
from exitsearch.specs.samples import read_samples

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
