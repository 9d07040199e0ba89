"""The manifest, checked whole: each rule is broken once, and the sentence says where, what and what was found."""

from __future__ import annotations

import copy
import json

import pytest

from exitsearch.runtime.bundle.fields import FieldError
from exitsearch.runtime.bundle.read_manifest import read_manifest


@pytest.fixture
def document(tiny):
    return json.loads((tiny.path / "bundle.json").read_text())


def changed(document, path, value):
    """A copy with the value at a path of keys and numbers replaced, or taken out (`...`)."""
    found = copy.deepcopy(document)
    place = found
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(found).encode()


def test_a_manifest_is_read(document):
    found = read_manifest(json.dumps(document).encode())
    assert found.exits == ("0:linear", "2:linear", "final")
    assert found.input_size == (3, 8, 8)
    assert found.classes == ("class 0", "class 1", "class 2", "class 3")
    assert found.latency.segments == {0.5: (1.0,) * 3, 0.9: (1.1,) * 3, 0.99: (1.2,) * 3}
    assert found.latency.heads[0.99] == (0.2, 0.2)
    assert found.confidence.points[1].thresholds == (0.9, 0.9)
    assert found.files["final.onnx"].bytes > 0
    assert found.preprocessing.resize == (8, 8)


def test_what_may_be_absent(document):
    document["preprocessing"] = document["confidence"] = document["model"]["classes"] = None
    document["policy"] = "contract"
    found = read_manifest(json.dumps(document).encode())
    assert found.preprocessing is None
    assert found.confidence is None
    assert found.classes is None


def test_a_single_number_resizes_the_shorter_side(document):
    document["preprocessing"]["resize"] = 9
    assert read_manifest(json.dumps(document).encode()).preprocessing.resize == (9, 9)


FAULTS = [
    (["schema_version"], 2, "schema_version 2 is newer than the 1 that this package reads"),
    (["schema_version"], 10**30, "newer than the 1"),
    (["schema_version"], 0, "schema_version must be a whole number from 1 to 1, found 0"),
    (["schema_version"], True, "schema_version must be a whole number"),
    (["schema_version"], ..., "not the manifest of a bundle"),
    (["kind"], "profile", "kind must be 'bundle', found 'profile'"),
    (["surprise"], 1, "unknown key 'surprise'; known: "),
    (["created"], None, "created must be a text"),
    (["model"], [], "model must be an object, found []"),
    (["model", "task"], "detection", "model.task must be one of classification, regression, found 'detection'"),
    (["model", "num_outputs"], 0, "model.num_outputs must be a whole number from 1 to 1000000, found 0"),
    (["model", "num_outputs"], 4.0, "model.num_outputs must be a whole number"),
    (["model", "classes"], ["a"], "model.classes must be a list of 4 items, found 1 of them"),
    (["model", "classes", 2], "\ud800", "model.classes[2] must be a text"),
    (["model", "classes", 2], "\x1b[2J", "model.classes[2] must be a text"),
    (["input", "size"], [3, 8], "input.size must be a list of 3 items, found 2 of them"),
    (["input", "size", 1], 65537, "input.size[1] must be a whole number from 1 to 65536, found 65537"),
    (["input", "size"], [3, 65536, 65536], "input.size must hold at most 268435456 numbers"),
    (["input", "dtype"], "int8", "input.dtype must be one of float32, float16, found 'int8'"),
    (["preprocessing", "mode"], "L", "preprocessing.mode L makes 1 channels, the input has 3"),
    (["preprocessing", "antialias"], False, "preprocessing.antialias must be true, found False"),
    (["preprocessing", "std", 1], 0, "preprocessing.std[1] must be a number from 1e-06 to 1e+06, found 0"),
    (["preprocessing", "mean"], [0.5], "preprocessing.mean must be a list of 3 items"),
    (["preprocessing", "interpolation"], "random", "preprocessing.interpolation must be one of nearest, "),
    (["format"], "pickle", "format must be one of onnx, openvino, found 'pickle'"),
    (["opset"], None, "opset must be a whole number"),
    (["segments", 0, "file"], "../x.onnx", "segments[0].file must be a name in the bundle's own folder"),
    (["segments", 0, "file"], "absent.onnx", "segments[0].file must be one of files, found 'absent.onnx'"),
    (["segments", 1, "file"], "segment_0.onnx", "every graph has a file of its own, found 'segment_0.onnx' again"),
    (["segments", 1, "inputs"], ["x"], "segments[1].inputs must be outputs of the segment before"),
    (["segments", 0, "outputs"], ["a", "a"], "segments[0].outputs must hold every name once, found 'a' again"),
    (["segments"], [], "segments must be a list of 3 items, found 0 of them"),
    (["heads", 1, "exit"], 0, "heads[1].exit must be a whole number from 1 to 1, found 0"),
    (["heads", 1, "input"], "table_1", "heads[1].input must be the first output of segments[1], features_1"),
    (["exits", 0, "options"], 3, "exits[0].options must be an object, found 3"),
    (["latency", "unit"], "s", "latency.unit must be one of ms, found 's'"),
    (["latency", "segments", 1, "median"], -1, "latency.segments[1].median must be a number from 0 to 1e+09, found -1"),
    (["latency", "segments", 1, "p90"], 0.5, "latency.segments[1] must not fall from median to p90 and p99"),
    (["latency", "heads"], [], "latency.heads must be a list of 2 items, found 0 of them"),
    (["latency", "slow_down", 0], "1", "latency.slow_down[0] must be a number"),
    (["policy"], "oracle", "policy must be one of interruptible, contract, confidence, found 'oracle'"),
    (["values"], [1, 2], "values must be a list of 3 items, found 2 of them"),
    (["values", 0], True, "values[0] must be a number"),
    (["confidence", "score"], "loudness", "confidence.score must be one of softmax, "),
    (["confidence", "temperatures", 0], 0, "confidence.temperatures[0] must be a number"),
    (["confidence", "points", 0, "budget_ms"], 4.0, "confidence.points must stand by rising budget_ms"),
    (["confidence", "points", 1, "thresholds"], [0.1], "confidence.points[1].thresholds must be a list of 2 items"),
    (["files"], [], "files must be an object of at most 2048 names, found []"),
    (["files", "a/b"], {"sha256": "0" * 64, "bytes": 1}, "a name in files must be a name in the bundle's own folder"),
    (["files", "FINAL.onnx"], {"sha256": "0" * 64, "bytes": 1}, "files must differ by more than capital letters"),
    (["files", "final.onnx", "sha256"], "0" * 63, "files.final.onnx.sha256 must be 64 digits of 0-9 a-f"),
    (["files", "final.onnx", "bytes"], -1, "files.final.onnx.bytes must be a whole number"),
]


@pytest.mark.parametrize(("path", "value", "sentence"), FAULTS, ids=lambda part: str(part)[:40])
def test_every_rule_has_a_sentence(document, path, value, sentence):
    with pytest.raises(FieldError) as raised:
        read_manifest(changed(document, path, value))
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("key", sorted(["model", "input", "segments", "heads", "exits", "latency", "values", "files"]))
def test_every_key_has_to_be_there(document, key):
    with pytest.raises(FieldError, match=f"{key} is missing"):
        read_manifest(changed(document, [key], ...))


@pytest.mark.parametrize(
    "name", ["..", ".hidden", "a", "a/b", "a\\b", "/etc/passwd", "a\0b", "-x.", "bundle.json", "é" * 4]
)
def test_names_stay_in_the_folder(document, name):
    with pytest.raises(FieldError, match="a name in the bundle's own folder"):
        read_manifest(changed(document, ["heads", 0, "file"], name))


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "not a JSON document that can be read"),
        (b"\xff\xfe", "not a JSON document that can be read"),
        (b"[" * 100_000, "nested too deep"),
        (b"[1]", r"must hold one JSON object, found \[1\]"),
        (b'{"kind": 1, "kind": 2}', "every key stands once in an object, found 'kind' again"),
        (b'{"kind": NaN}', "numbers must be finite, found NaN"),
        (b'{"kind": ' + b"9" * 5000 + b"}", "not a JSON document that can be read"),
        (b" " * (16 * 2**20 + 1), "a manifest has at most 16777216 bytes"),
    ],
    ids=["empty", "no text", "deep", "list", "twice", "nan", "digits", "large"],
)
def test_what_is_no_document(raw, sentence):
    with pytest.raises(FieldError, match=sentence):
        read_manifest(raw)


def test_confidence_needs_classes(document):
    document["model"]["task"] = "regression"
    with pytest.raises(FieldError, match="confidence needs a classification of at least 2 outputs, found regression"):
        read_manifest(json.dumps(document).encode())


def test_the_policy_confidence_needs_its_table(document):
    document["policy"], document["confidence"] = "confidence", None
    with pytest.raises(FieldError, match="confidence must stand there under the policy confidence"):
        read_manifest(json.dumps(document).encode())


def test_a_number_too_large_for_a_double_is_not_finite(document):
    raw = json.dumps(document).replace('"crop_pct": 1.0', '"crop_pct": 1e999').encode()
    with pytest.raises(FieldError, match=r"preprocessing.crop_pct must be a number from 0.01 to 100, found inf"):
        read_manifest(raw)
