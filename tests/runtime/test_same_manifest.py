"""The manifest as this room reads it and as the rest of the project writes it (`specs/bundle.py`): one document.

The room imports nothing of the project, so the keys stand in both; here they are held against each other.
"""

from __future__ import annotations

import json

import pytest
from tiny_bundle import write_tiny_bundle

from exitsearch.runtime.bundle import read_manifest as reader

specs = pytest.importorskip("exitsearch.specs.bundle", reason="the document of the export is not here yet")


@pytest.mark.parametrize("exits", [0, 1, 3])
def test_what_the_room_reads_is_what_the_project_checks(tmp_path, exits):
    path = write_tiny_bundle(tmp_path / "b", exits=exits).path / "bundle.json"
    written = specs.Bundle.read(path)
    again = json.dumps(written.model_dump(mode="json")).encode()
    assert reader.read_manifest(again) == reader.read_manifest(path.read_bytes())


def test_both_know_the_same_keys():
    mine = {*reader._READ_HERE, *reader._FOR_OTHERS}
    assert mine == {*specs.Bundle.model_fields, "kind"}
    for part, keys in {
        "BundleModel": "name task num_outputs classes",
        "BundleInput": "name size dtype",
        "Preprocessing": "mode resize interpolation antialias crop_pct crop_mode mean std",
        "BundleSegment": "file inputs outputs",
        "BundleHead": "file exit input output",
        "Quantiles": "median p90 p99",
        "BundleLatency": "unit batch_size threads segments heads start slow_down",
        "FileFacts": "sha256 bytes",
    }.items():
        assert set(keys.split()) == set(getattr(specs, part).model_fields), part


def test_names_of_files_have_one_form():
    from typing import get_args

    (pattern,) = [fact.pattern for field in get_args(specs.FileName)[1:] for fact in field.metadata]
    assert pattern.strip("^$") == reader._FILE_NAME.pattern
