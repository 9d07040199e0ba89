"""The manifest of a bundle."""

from __future__ import annotations

import json

import pytest

from exitsearch.errors import FileError
from exitsearch.specs.bundle import Bundle

FILE = {"sha256": "a" * 64, "bytes": 3}
TIMES = {"median": 1.0, "p90": 2.0, "p99": 3.0}


def manifest(**changes):
    data = {
        "schema_version": 1,
        "kind": "bundle",
        "created": "2026-11-21T00:00:00+00:00",
        "model": {"name": "tiny", "task": "classification", "num_outputs": 2, "classes": ["a", "b"]},
        "input": {"name": "x", "size": [1, 8, 8], "dtype": "float32"},
        "preprocessing": None,
        "format": "onnx",
        "precision": "fp32",
        "opset": 20,
        "segments": [
            {"file": "segment_0.onnx", "inputs": ["x"], "outputs": ["features_0", "carried_0_1"]},
            {"file": "segment_1.onnx", "inputs": ["carried_0_1"], "outputs": ["outputs"]},
        ],
        "heads": [{"file": "head_0.onnx", "exit": 0, "input": "features_0", "output": "outputs"}],
        "exits": [{"placement": 3, "head": "linear", "options": {}}],
        "latency": {
            "unit": "ms",
            "batch_size": 1,
            "threads": 1,
            "segments": [TIMES, {**TIMES, "median": 1.5}],
            "heads": [{**TIMES, "median": 0.25}],
            "slow_down": [1.0, 1.1],
        },
        "policy": "interruptible",
        "values": [0.5, 0.75],
        "budget": "uniform:1,2",
        "agreement": [{"agreement": 1.0, "samples": 10, "split": "choice", "largest_difference": 1e-6}, {}],
        "files": {"segment_0.onnx": FILE, "segment_1.onnx": FILE, "head_0.onnx": FILE, "README.md": FILE},
    }
    return {**data, **changes}


def test_it_is_written_and_read_whole(tmp_path):
    bundle = Bundle.parse(manifest(), "bundle.json")
    path = bundle.write(tmp_path / "bundle.json")
    assert Bundle.read(path) == bundle
    data = json.loads(path.read_text())
    assert list(data)[:2] == ["schema_version", "kind"]
    assert data["kind"] == "bundle"
    assert set(manifest()) <= set(data)


def test_answers_pay_for_every_head_on_the_way_but_under_contract():
    """Segments 1 and 1.5 ms, a head 0.25."""
    latency = Bundle.parse(manifest(), "bundle.json").latency
    assert latency.answers_ms() == latency.answers_ms("confidence") == [1.25, 2.75]
    assert latency.answers_ms("contract") == [1.25, 2.5]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "profile"}, "kind must be 'bundle', found 'profile'"),
        ({"values": [0.5]}, "values must have 2 items for 1 exits, found 1"),
        ({"agreement": []}, "agreement must have 2 items for 1 exits, found 0"),
        ({"heads": [{"file": "head_0.onnx", "exit": 1, "input": "features_0", "output": "o"}]}, "of exits 0 to 0"),
        (
            {"heads": [{"file": "head_0.onnx", "exit": 0, "input": "carried_0_1", "output": "o"}]},
            r"heads\[0\].input must be 'features_0', found 'carried_0_1'",
        ),
        ({"policy": "confidence"}, "confidence must stand there exactly under the policy confidence"),
        ({"files": {"segment_0.onnx": FILE}}, "every graph must be a file of its own among files"),
        (
            {"files": {**manifest()["files"], "bundle.json": FILE}},
            "files must name every file but bundle.json itself",
        ),
        ({"files": {"../gone": FILE}}, "files"),
        ({"format": "torch"}, "format should be 'onnx' or 'openvino', found 'torch'"),
        ({"strange": 1}, "the key strange of|the key strange is unknown"),
    ],
)
def test_rules_have_sentences(changes, sentence):
    with pytest.raises(FileError, match=sentence):
        Bundle.parse(manifest(**changes), "bundle.json")


def test_a_segment_takes_what_stands_ready():
    segments = [manifest()["segments"][0], {"file": "segment_1.onnx", "inputs": ["x"], "outputs": ["outputs"]}]
    with pytest.raises(FileError, match=r"segments\[1\] takes 'x'; ready there: features_0, carried_0_1"):
        Bundle.parse(manifest(segments=segments), "bundle.json")


def test_times_do_not_fall():
    latency = {**manifest()["latency"], "heads": [{"median": 3.0, "p90": 2.0, "p99": 4.0}]}
    with pytest.raises(FileError, match="times must not fall from median to p90 and p99"):
        Bundle.parse(manifest(latency=latency), "bundle.json")
