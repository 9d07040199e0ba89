"""The manifest as this room reads it and as the rest of the project writes it (`specs/bundle.py`): one document.

The room imports nothing of the project, so the keys stand in both; here they are held against each other.
"""

from __future__ import annotations

import json

import pytest
from tiny_bundle import write_tiny_bundle

from exitsearch.errors import InputError
from exitsearch.runtime.bundle import read_manifest as reader

specs = pytest.importorskip("exitsearch.specs.bundle", reason="the document of the export is not here yet")


@pytest.mark.parametrize("exits", [0, 1, 3])
def test_what_the_room_reads_is_what_the_project_checks(tmp_path, exits):
    path = write_tiny_bundle(tmp_path / "b", exits=exits).path / "bundle.json"
    written = specs.Bundle.read(path)
    again = json.dumps(written.model_dump(mode="json")).encode()
    assert reader.read_manifest(again) == reader.read_manifest(path.read_bytes())


def test_side_inputs_are_read_alike_and_left_out_where_there_are_none(tmp_path):
    path = write_tiny_bundle(tmp_path / "b", exits=2).path / "bundle.json"
    document = json.loads(path.read_text())
    assert "side_inputs" not in json.dumps(specs.Bundle.read(path).model_dump(mode="json"))
    document["side_inputs"] = [{"name": "audio", "size": [1, 2, 3], "dtype": "float32"}]
    document["heads"][1]["side_inputs"] = ["audio"]
    path.write_text(json.dumps(document))
    again = json.dumps(specs.Bundle.read(path).model_dump(mode="json")).encode()
    assert reader.read_manifest(again) == reader.read_manifest(path.read_bytes())
    assert reader.read_manifest(again).side_inputs == {"audio": (1, 2, 3)}


@pytest.mark.parametrize(
    ("key", "value"),
    [("side_inputs", []), ("side_inputs", [{"name": "x", "size": [1, 2, 3]}, {"name": "audio", "size": [1, 2, 3]}])],
)
def test_what_one_refuses_of_side_inputs_the_other_does(tmp_path, key, value):
    path = write_tiny_bundle(tmp_path / "b", exits=2).path / "bundle.json"
    document = json.loads(path.read_text())
    document["heads"][1]["side_inputs"] = ["audio"]
    document[key] = value
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"side.input"):
        reader.read_manifest(path.read_bytes())
    with pytest.raises(InputError, match=r"side.input"):
        specs.Bundle.read(path)


def test_both_know_the_same_keys():
    mine = {*reader._READ_HERE, *reader._FOR_OTHERS}
    assert mine == {*specs.Bundle.model_fields, "kind"}
    for part, keys in {
        "BundleModel": "name task num_outputs classes",
        "BundleInput": "name size dtype",
        "Preprocessing": "mode resize interpolation antialias crop_pct crop_mode mean std",
        "BundleSegment": "file inputs outputs",
        "BundleHead": "file exit input output side_inputs",
        "BundleSideInput": "name size dtype",
        "Quantiles": "median p90 p99",
        "BundleLatency": "unit batch_size threads segments heads start slow_down after_pause",
        "FileFacts": "sha256 bytes",
    }.items():
        assert set(keys.split()) == set(getattr(specs, part).model_fields), part


def test_names_of_files_have_one_form():
    from typing import get_args

    (pattern,) = [fact.pattern for field in get_args(specs.FileName)[1:] for fact in field.metadata]
    assert pattern.strip("^$") == reader._FILE_NAME.pattern
