"""Nothing of a bundle reaches a parser before it is what the manifest says, and nothing outside the folder is read."""

from __future__ import annotations

import json
import os

import numpy as np
import onnx
import pytest
from tiny_bundle import write_manifest, write_tiny_bundle

from exitsearch.runtime import BundleError, load_bundle
from exitsearch.runtime.bundle.trust import open_bundle

MOST = 2**30


def manifest_of(bundle):
    return json.loads((bundle.path / "bundle.json").read_text())


def refused(path, sentence, *, most_bytes=MOST):
    with pytest.raises(BundleError, match=sentence) as raised, open_bundle(path, most_bytes=most_bytes):
        pass
    assert "\n" not in str(raised.value)
    assert "; " in str(raised.value)  # what to do about it
    return str(raised.value)


def test_a_bundle_is_opened_with_the_bytes_of_its_files(tiny):
    with open_bundle(tiny.path, most_bytes=MOST) as bundle:
        assert bytes(bundle.files["final.onnx"]) == (tiny.path / "final.onnx").read_bytes()
        assert {place.location for place in bundle.external["segment_0.onnx"]} == {"weights.safetensors"}


@pytest.mark.parametrize("name", ["segment_0.onnx", "head_1.onnx", "final.onnx", "weights.safetensors"])
def test_one_altered_bit_is_found_and_its_file_named(fresh, name):
    content = bytearray((fresh.path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (fresh.path / name).write_bytes(content)
    assert name in refused(fresh.path, "was altered: its SHA-256 must be")


def test_a_shorter_and_a_longer_file_are_found(fresh):
    path = fresh.path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    refused(fresh.path, r"weights.safetensors: must have \d+ bytes, found \d+")
    path.write_bytes(path.read_bytes() + b"ab")
    refused(fresh.path, r"weights.safetensors: must have \d+ bytes, found \d+")


def test_a_missing_file_is_named(fresh):
    (fresh.path / "head_0.onnx").unlink()
    refused(fresh.path, "1 files of the manifest are missing, as head_0.onnx")


def test_a_file_beside_the_manifest_is_refused(fresh):
    (fresh.path / "extra.py").write_text("print(1)")
    refused(fresh.path, "found 1 that it does not, as 'extra.py'")


def test_folders_and_links_are_refused(fresh, tmp_path):
    (fresh.path / "inner").mkdir()
    refused(fresh.path, "found a folder, 'inner'")
    (fresh.path / "inner").rmdir()
    stranger = tmp_path / "stranger.onnx"
    stranger.write_bytes((fresh.path / "final.onnx").read_bytes())
    (fresh.path / "final.onnx").unlink()
    (fresh.path / "final.onnx").symlink_to(stranger)
    refused(fresh.path, "found a link, 'final.onnx'")


def test_a_pipe_is_not_waited_for(fresh):
    (fresh.path / "final.onnx").unlink()
    os.mkfifo(fresh.path / "final.onnx")
    refused(fresh.path, "found something else, 'final.onnx'")


def test_what_is_no_bundle_at_all(tmp_path):
    refused(tmp_path / "absent", "a bundle is a folder with bundle.json in it, found nothing there")
    (tmp_path / "file").write_text("{}")
    refused(tmp_path / "file", "found a file")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "found none")


def test_a_bundle_larger_than_allowed_is_not_read(fresh):
    refused(fresh.path, r"a bundle may have 1000 bytes here, found \d+", most_bytes=1000)


def test_a_fault_of_the_manifest_names_it(fresh):
    (fresh.path / "bundle.json").write_text("{")
    assert "bundle.json: not a JSON document" in refused(fresh.path, "not a JSON document that can be read")


def pointing(bundle, location, offset, length):
    """Let the first weight of the final part lie elsewhere, with checksums that agree."""
    path = bundle.path / "final.onnx"
    model = onnx.load(path, load_external_data=False)
    entries = {"location": location, "offset": offset, "length": length}
    for entry in model.graph.initializer[0].external_data:
        entry.value = str(entries[entry.key])
    path.write_bytes(model.SerializeToString())
    write_manifest(bundle.path, manifest_of(bundle))


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/hostname", "absent.bin", "./weights.safetensors", "bundle.json"]
)
def test_weights_outside_the_manifest_are_refused(fresh, location):
    (fresh.path.parent / "secret.bin").write_bytes(bytes(256))
    pointing(fresh, location, 0, 256)
    refused(fresh.path, "data outside a graph must lie in a file of the manifest")


def test_weights_beyond_the_end_of_their_file_are_refused(fresh):
    size = (fresh.path / "weights.safetensors").stat().st_size
    pointing(fresh, "weights.safetensors", size - 255, 256)
    refused(fresh.path, "data outside a graph must lie within its file")


def test_a_file_without_bytes_can_stand_in_a_bundle(fresh):
    (fresh.path / "note.txt").write_bytes(b"")
    write_manifest(fresh.path, manifest_of(fresh))
    with open_bundle(fresh.path, most_bytes=MOST) as bundle:
        assert bundle.files["note.txt"] == b""


def test_what_was_checked_is_what_is_loaded(fresh, monkeypatch):
    """A file that is swapped by its name behind the check changes nothing, nor does one that is gone after loading."""
    from exitsearch.runtime import session as module

    x = np.ones((3, 8, 8), dtype=np.float32)
    expected = load_bundle(fresh.path).predict(x).outputs
    other = write_tiny_bundle(fresh.path.parent / "other", seed=1)
    original = module.Graphs

    def swapped(bundle, **options):
        for name in bundle.files:
            os.replace(other.path / name, fresh.path / name)
        return original(bundle, **options)

    monkeypatch.setattr(module, "Graphs", swapped)
    session = load_bundle(fresh.path)
    for file in fresh.path.iterdir():
        file.unlink()
    assert session.predict(x).outputs.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"input": {"name": "x", "size": [3, 8, 9], "dtype": "float32"}, "preprocessing": None},
            r"must take \[3, 8, 9\]",
        ),
        ({"input": {"name": "x", "size": [3, 8, 8], "dtype": "float16"}}, "must take float16, found tensor.float."),
        ({"format": "openvino"}, "this package runs bundles of the format onnx, found openvino"),
    ],
)
def test_graphs_must_be_what_the_manifest_says(tmp_path, change, sentence):
    bundle = write_tiny_bundle(tmp_path / "b", **change)
    with pytest.raises(BundleError, match=sentence):
        load_bundle(bundle.path)


def test_a_graph_with_other_names_is_refused(fresh):
    document = manifest_of(fresh)
    document["segments"][2]["outputs"] = ["answers"]
    write_manifest(fresh.path, document)
    with pytest.raises(BundleError, match="must take features_1 and give answers, found features_1 and outputs"):
        load_bundle(fresh.path)


def test_a_graph_of_another_number_of_outputs_is_refused(fresh):
    document = manifest_of(fresh)
    document["model"] |= {"num_outputs": 5, "classes": None}
    write_manifest(fresh.path, document)
    with pytest.raises(BundleError, match=r"head_0.onnx must give \[batch, 5\], found \[1, 4\]"):
        load_bundle(fresh.path)


def test_bytes_that_are_no_graph_are_refused_in_a_sentence(fresh):
    (fresh.path / "final.onnx").write_bytes(b"\x3a\x02\x0a\x00")
    write_manifest(fresh.path, manifest_of(fresh))
    with pytest.raises(BundleError, match=r"final.onnx: cannot be loaded by onnxruntime"):
        load_bundle(fresh.path)
