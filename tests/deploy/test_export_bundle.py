"""export_bundle: three families against torch, the folder as its manifest says, written whole or not at all."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from export_models import FAMILIES, family_model
from safetensors.numpy import load_file

from exitsearch.deploy import export
from exitsearch.deploy.export import Knowledge, export_bundle
from exitsearch.deploy.folder import check_out, put_in_place
from exitsearch.errors import ExitSearchError, FileError, InputError
from exitsearch.specs.bundle import BUNDLE_FILE, WEIGHTS_FILE, Bundle

KNOWLEDGE = Knowledge(values=[0.5, 0.6], values_from="a test")


def run(folder, bundle, x):
    """Every exit's outputs, by the manifest alone."""

    def call(file, inputs):
        session = onnxruntime.InferenceSession(folder / file, providers=["CPUExecutionProvider"])
        return session.run(None, inputs)

    ready, found = {bundle.input.name: x}, []
    for number, segment in enumerate(bundle.segments):
        outputs = call(segment.file, {name: ready[name] for name in segment.inputs})
        ready = dict(zip(segment.outputs, outputs, strict=True))
        if number < len(bundle.heads):
            head = bundle.heads[number]
            found += call(head.file, {head.input: ready[head.input]})
    return [*found, ready["outputs"]]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch", [1, 5])
def test_every_exit_is_that_of_torch(exported, family, batch):
    model, made = exported(family)
    x = model.backbone.example_input(batch, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted = model(x)
    found = run(made.folder, Bundle.read(made.folder / BUNDLE_FILE), x.numpy())
    assert len(found) == len(wanted) == 2
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), atol=1e-4, rtol=0)
    # Were exits alike, a wrong one would pass.
    assert float((wanted[0] - wanted[1]).abs().max()) > 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_graphs_name_the_bytes_of_the_weights_file(exported, family):
    _, made = exported(family)
    tensors = load_file(made.folder / WEIGHTS_FILE)
    content = (made.folder / WEIGHTS_FILE).read_bytes()
    named = 0
    for graph in (*made.bundle.segments, *made.bundle.heads):
        alone = onnx.load(made.folder / graph.file, load_external_data=False)
        whole = onnx.load(made.folder / graph.file)
        for outside, tensor in zip(alone.graph.initializer, whole.graph.initializer, strict=True):
            if outside.data_location != onnx.TensorProto.EXTERNAL:
                assert len(outside.raw_data) < 1024
                continue
            place = {entry.key: entry.value for entry in outside.external_data}
            assert place["location"] == WEIGHTS_FILE
            start, length = int(place["offset"]), int(place["length"])
            numbers = onnx.numpy_helper.to_array(tensor)
            assert content[start : start + length] == numbers.tobytes()
            assert any(kept.shape == numbers.shape and kept.tobytes() == numbers.tobytes() for kept in tensors.values())
            named += 1
    assert named >= len(tensors) > 0
    # Every weight of the model is there once, beside a few that the exporter made of them.
    assert len({tensor.tobytes() for tensor in tensors.values()}) == len(tensors)


def test_the_manifest_names_every_file_with_its_checksum(exported):
    _, made = exported("resnet")
    found = {path.name for path in made.folder.iterdir()}
    assert found == {*made.bundle.files, BUNDLE_FILE}
    assert found > {"segment_0.onnx", "segment_1.onnx", "head_0.onnx", WEIGHTS_FILE, "README.md"}
    for name, facts in made.bundle.files.items():
        content = (made.folder / name).read_bytes()
        assert facts.sha256 == hashlib.sha256(content).hexdigest()
        assert facts.bytes == len(content)
        assert (made.folder / name).stat().st_mode & 0o777 == 0o644  # for everyone
    assert Bundle.read(made.folder / BUNDLE_FILE) == made.bundle


def test_no_path_of_this_machine_is_written(exported):
    _, made = exported("vit")
    for path in made.folder.iterdir():
        if path.suffix in (".onnx", ".json", ".md"):
            assert b"site-packages" not in path.read_bytes()
            assert str(made.folder.parent).encode() not in path.read_bytes()


def test_times_are_measured_and_said(exported):
    _, made = exported("resnet")
    facts = made.bundle.profile["latency"]
    assert facts["source"] == "measured"
    assert facts["chain_over_whole"] == pytest.approx(made.ratios.chain_over_whole, abs=1e-4)
    assert made.bundle.latency.batch_size == made.bundle.latency.threads == 1
    assert all(0 < times.median <= times.p90 <= times.p99 for times in made.bundle.latency.segments)
    assert np.median(made.bundle.latency.slow_down) == pytest.approx(1, rel=0.2)
    text = (made.folder / "README.md").read_text()
    assert f"{made.ratios.no_exit_tax:.3f}" in text
    assert "1.0000 of 8" in text


def test_agreement_is_of_answers_one_by_one(exported):
    model, made = exported("vit", "int8")
    generator = torch.Generator().manual_seed(3)
    x = model.backbone.example_input(8, generator=generator)
    same = np.zeros(2)
    for index in range(8):
        with torch.inference_mode():
            wanted = model(x[index : index + 1])
        found = run(made.folder, made.bundle, x[index : index + 1].numpy())
        same += [mine.argmax() == theirs.argmax() for mine, theirs in zip(found, wanted, strict=True)]
    assert [exit_.agreement for exit_ in made.bundle.agreement] == pytest.approx(list(same / 8))
    assert made.bundle.agreement[0].largest_difference > 1e-4  # it is quantised


def test_int8_weights_take_less_than_half(exported):
    """A quarter, but for embeddings and the first convolution."""
    sizes = {
        precision: exported("vit", precision)[1].bundle.files[WEIGHTS_FILE].bytes for precision in ("fp32", "int8")
    }
    assert sizes["int8"] < 0.4 * sizes["fp32"]


def test_half_weights_take_half_and_answer_alike(exported):
    model, made = exported("resnet", "fp16")
    full = exported("resnet")[1]
    assert made.bundle.files[WEIGHTS_FILE].bytes < 0.52 * full.bundle.files[WEIGHTS_FILE].bytes
    x = model.backbone.example_input(2)
    with torch.inference_mode():
        wanted = model(x)
    for mine, theirs in zip(run(made.folder, made.bundle, x.numpy()), wanted, strict=True):
        assert mine.dtype == np.float32
        np.testing.assert_allclose(mine, theirs.numpy(), atol=2e-2 * float(theirs.abs().max()))


def test_an_exit_that_differs_is_refused_and_nothing_is_left(tmp_path, monkeypatch, remembered_graphs):
    model = family_model("resnet")
    write = export._write_graphs

    def altered(model, *arguments):
        graphs = write(model, *arguments)
        with torch.no_grad():
            next(model.heads[0].parameters()).add_(1e-2)
        return graphs

    monkeypatch.setattr(export, "_write_graphs", altered)
    with pytest.raises(ExitSearchError, match=r"exit 0 \(linear at placement 1\) differs by .* more than 0.0001") as e:
        export_bundle(model, out=tmp_path / "bundle", knowledge=KNOWLEDGE, max_seconds=0.1)
    assert e.value.exit_status == 1
    assert list(tmp_path.iterdir()) == []


def test_what_stands_there_is_kept(tmp_path):
    model = family_model("resnet")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileError, match="is there already; give another --out, or replace the bundle"):
        export_bundle(model, out=tmp_path, knowledge=KNOWLEDGE)
    with pytest.raises(FileError, match="--restart replaces a bundle, and this is none"):
        export_bundle(model, out=tmp_path, knowledge=KNOWLEDGE, restart=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_bundle_is_replaced_only_when_the_new_one_is_whole(tmp_path):
    former, new = tmp_path / "bundle", tmp_path / ".bundle.new.partial"
    for folder, text in ((former, "old"), (new, "new")):
        folder.mkdir()
        (folder / BUNDLE_FILE).write_text(text)
    check_out(former, restart=True)
    put_in_place(new, former)
    assert (former / BUNDLE_FILE).read_text() == "new"
    assert list(tmp_path.iterdir()) == [former]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"format": "torch"}, "hold pickles, and torch unpickles"),
        ({"format": "tflite"}, "unknown format 'tflite'; known: onnx, openvino"),
        ({"precision": "int4"}, r"unknown precision 'int4' \(did you mean 'int8'\?\); known: fp16, fp32, int8"),
        ({"format": "openvino", "precision": "int8"}, "--precision int8 is of --format onnx"),
        ({"threads": 0}, "--threads must be from 1 to 4096, found 0"),
    ],
)
def test_wrong_input_is_one_sentence(tmp_path, asked, sentence):
    with pytest.raises(InputError, match=sentence):
        export_bundle(family_model("resnet"), out=tmp_path / "bundle", knowledge=KNOWLEDGE, **asked)


def test_a_model_in_training_mode_is_refused(tmp_path):
    with pytest.raises(InputError, match="in eval mode"):
        export_bundle(family_model("resnet").train(), out=tmp_path / "bundle", knowledge=KNOWLEDGE)
