"""Side inputs of a manifest: old bundles have none, and what comes from outside is bounded."""

from __future__ import annotations

import json

import pytest

from exitsearch.runtime.bundle.fields import FieldError
from exitsearch.runtime.bundle.read_manifest import read_manifest

AUDIO = {"name": "audio", "size": [1, 2, 3], "dtype": "float32"}


@pytest.fixture
def document(tiny):
    """A manifest whose second head reads one."""
    found = json.loads((tiny.path / "bundle.json").read_text())
    found["side_inputs"] = [dict(AUDIO)]
    found["heads"][1]["side_inputs"] = ["audio"]
    return found


def read(document):
    return read_manifest(json.dumps(document).encode())


def test_a_bundle_without_any_speaks_of_none(tiny):
    raw = (tiny.path / "bundle.json").read_bytes()
    assert b"side_inputs" not in raw
    found = read_manifest(raw)
    assert found.side_inputs == {}
    assert [len(head.inputs) for head in found.heads] == [1, 1]


def test_they_are_read(document):
    found = read(document)
    assert found.side_inputs == {"audio": (1, 2, 3)}
    assert [head.inputs[1:] for head in found.heads] == [(), ("audio",)]


def set_(document, path, value):
    *way, last = path
    for key in way:
        document = document[key]
    document[last] = value


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (["side_inputs"], {"audio": [1, 2, 3]}, "side_inputs must be a list of 0 to 64 items"),
        (["side_inputs"], [AUDIO] * 65, "side_inputs must be a list of 0 to 64 items, found 65"),
        (["side_inputs"], [AUDIO] * 2, "side_inputs must hold every name once, found 'audio' again"),
        (["side_inputs", 0, "size"], [1, 2], r"side_inputs\[0\].size must be a list of 3 items"),
        (["side_inputs", 0, "size"], [1, 0, 3], r"side_inputs\[0\].size\[1\] must be a whole number from 1"),
        (["side_inputs", 0, "size"], [65536] * 3, r"side_inputs\[0\].size must hold at most 268435456 numbers"),
        (["side_inputs", 0, "dtype"], "float64", r"side_inputs\[0\].dtype must be one of float32, float16"),
        (["side_inputs", 0, "name"], "a" * 201, r"side_inputs\[0\].name must be a text of at most 200 characters"),
        (["side_inputs", 0, "path"], "/etc", r"unknown key 'side_inputs\[0\].path'"),
        (["side_inputs"], [AUDIO, {**AUDIO, "name": "x"}], "side_inputs must have names of their own, found 'x'"),
        (["side_inputs"], [AUDIO, {**AUDIO, "name": "features_0"}], "must have names of their own, found 'features_0'"),
        (["side_inputs"], [AUDIO, {**AUDIO, "name": "b"}], "every side input is read by a head, found 'b'"),
        (["side_inputs"], [], r"heads\[1\].side_inputs must be among side_inputs, found 'audio'"),
        (["heads", 1, "side_inputs"], ["video"], r"heads\[1\].side_inputs must be among side_inputs, found 'video'"),
        (["heads", 1, "side_inputs"], ["audio"] * 2, r"heads\[1\].side_inputs must hold every name once"),
        (["heads", 1, "side_inputs"], "audio", r"heads\[1\].side_inputs must be a list"),
        (["segments", 1, "inputs"], ["audio"], r"segments\[1\].inputs must be outputs of the segment before"),
    ],
)
def test_what_cannot_be_is_named(document, path, value, sentence):
    set_(document, path, value)
    with pytest.raises(FieldError, match=sentence):
        read(document)


def test_many_large_ones_are_too_much_together(document):
    names = [f"s{number}" for number in range(64)]
    document["side_inputs"] = [{**AUDIO, "name": name, "size": [1, 4096, 4096]} for name in names]
    document["heads"][1]["side_inputs"] = names
    with pytest.raises(FieldError, match="side_inputs must hold at most 268435456 numbers together"):
        read(document)
