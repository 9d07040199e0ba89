"""A model whose heads read side inputs, from torch to an answer: exported, checked, loaded, asked, verified."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from side_model import SIDE_INPUTS, eager, given, side_model
from tiny_bundle import write_manifest

from exitsearch.deploy.checks import Samples
from exitsearch.deploy.cuda import cuda_session
from exitsearch.deploy.export import Knowledge, export_bundle
from exitsearch.deploy.units import divide, side_inputs_of
from exitsearch.deploy.verify import asking
from exitsearch.errors import InputError, UnsupportedError
from exitsearch.pipeline.verify_samples import AskedSamples, samples_of
from exitsearch.runtime import BundleError, RequestError, load_bundle
from exitsearch.specs.bundle import Bundle

VALUES = [0.5, 0.6, 0.7, 0.8]


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return side_model("interruptible")


def export(model, folder, **options):
    xs, side = given(6, seed=3)
    beside = {name: torch.from_numpy(array) for name, array in side.items()}
    beside["video"] = torch.zeros(6, 1, 4, 4)  # which no head reads
    knowledge = Knowledge(values=VALUES, values_from="a test", samples=Samples(torch.from_numpy(xs), "choice", beside))
    return export_bundle(model, out=folder, knowledge=knowledge, max_seconds=0.1, **options)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    return export(model, tmp_path_factory.mktemp("side") / "bundle")


@pytest.fixture(scope="module")
def session(exported):
    return load_bundle(exported.folder)


def test_a_head_takes_its_side_inputs_beside_the_features(model):
    units = divide(model)
    assert side_inputs_of(model) == {"audio": (1, 2, 3)}  # not video, which no head reads
    assert [unit.inputs for unit in units.heads] == [("features_0",), ("features_1", "audio"), ("features_2",)]
    assert units.heads[1].axes == ({0: "batch"}, {0: "batch"})
    assert [unit.inputs[0] for unit in units.segments] == ["x", "features_0", "features_1", "features_2"]


def test_the_manifest_says_what_is_read(exported):
    document = json.loads((exported.folder / "bundle.json").read_text())
    assert document["side_inputs"] == [{"name": "audio", "size": [1, 2, 3], "dtype": "float32"}]
    assert [head.get("side_inputs") for head in document["heads"]] == [None, ["audio"], None]
    assert Bundle.read(exported.folder / "bundle.json") == exported.bundle
    assert "`audio`: float32 [batch, 1, 2, 3], which the heads of exits 1 read" in (
        exported.folder / "README.md"
    ).read_text(encoding="utf-8")


def test_exits_are_compared_with_what_they_hear(exported):
    assert all(exit_.largest_difference < 1e-5 for exit_ in exported.bundle.agreement)
    assert [(exit_.agreement, exit_.samples) for exit_ in exported.bundle.agreement] == [(1.0, 6)] * 4


@pytest.mark.parametrize("count", [1, 5])
def test_every_exit_is_the_models_own(session, model, count):
    xs, side = given(count)
    wanted = eager(model, xs, side)
    for found, outputs in zip(session.every_exit(xs, side=side), wanted, strict=True):
        np.testing.assert_allclose(found, outputs, atol=1e-5)
    other = {"audio": side["audio"] + 1}
    assert np.abs(session.every_exit(xs, side=other)[1] - wanted[1]).max() > 0.1  # else nothing is heard


def test_every_way_of_asking_hears(session, model):
    xs, side = given(8)
    wanted = eager(model, xs, side)
    one = {"audio": side["audio"][0]}
    assert session.predict(xs[0], side=one).exit == 3
    with session.start(xs[0], side=one) as started:
        assert started.wait(60)
        assert started.answer().exit == 3
    answers = session.predict_batch(xs, side=side, confidence=0.215)
    assert 1 in {answer.exit for answer in answers}  # some have left before, so that rows of the side input did, too
    for row, answer in enumerate(answers):
        np.testing.assert_allclose(answer.outputs, wanted[answer.exit][row], atol=1e-5)
        alone = session.predict(xs[row], side={"audio": side["audio"][row : row + 1]}, confidence=0.215)
        assert alone.exit == answer.exit


@pytest.mark.parametrize(
    ("side", "sentence"),
    [
        (
            None,
            r"the side input audio is an array \[1, 2, 3\] of floating-point numbers, which heads of this bundle read",
        ),
        ({}, "give it as side={'audio': ...}"),
        (
            {"audio": np.zeros((1, 2, 3), np.float32), "video": 1},
            "the side inputs of this bundle: audio; found 'video'",
        ),
        ({"audio": np.zeros((2, 1, 2, 3), np.float32)}, r"found \[2, 1, 2, 3\] of float32"),
        ({"audio": np.zeros((1, 3, 2), np.float32)}, r"found \[1, 3, 2\]"),
        ({"audio": np.zeros((1, 2, 3), np.int64)}, "of floating-point numbers, found"),
        ({"audio": np.full((1, 2, 3), np.nan, np.float32)}, "all of them finite"),
        ({"audio": "noise.wav"}, "of floating-point numbers, found 'noise.wav'"),
        (np.zeros((1, 2, 3)), "side inputs are given by name"),
    ],
)
def test_what_cannot_be_heard_is_one_sentence(session, side, sentence):
    with pytest.raises(RequestError, match=sentence) as caught:
        session.predict(given(1)[0][0], side=side)
    assert "\n" not in str(caught.value)


def test_a_batch_has_as_many_of_each(session):
    xs, side = given(3)
    with pytest.raises(
        RequestError, match=r"an array \['batch', 1, 2, 3\] of floating-point numbers, 3 of them, found"
    ):
        session.predict_batch(xs, side={"audio": side["audio"][:2]})


def test_graphs_must_take_what_the_manifest_says(exported, tmp_path):
    folder = tmp_path / "altered"
    folder.mkdir()
    for path in exported.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    document = json.loads((folder / "bundle.json").read_text())
    document["side_inputs"][0]["size"] = [1, 3, 3]
    write_manifest(folder, document)
    with pytest.raises(BundleError, match=r"must take audio as float32 \['batch', 1, 3, 3\], as the manifest says"):
        load_bundle(folder)


def test_openvino_hears_too(model, tmp_path):
    pytest.importorskip("openvino")
    found = export(model, tmp_path / "bundle", format="openvino")
    assert all(exit_.largest_difference < 1e-4 for exit_ in found.bundle.agreement)
    assert found.bundle.heads[1].side_inputs == ["audio"]


def test_a_name_that_a_segment_has_is_refused():
    model = side_model(side_inputs={"audio": (1, 2, 3), "features_1": (1, 1, 1)})
    model.heads[0].reads = {"features_1": (1, 1, 1)}
    model.heads[0].forward = lambda features, features_1: features.mean((2, 3)) @ torch.ones(4, 10)
    with pytest.raises(UnsupportedError, match="that segments hand on, as features_1 here"):
        divide(model)


def test_a_cuda_session_hears_bit_for_bit():
    model = side_model()
    cuda = cuda_session(model, values=VALUES, device="cpu", batch_sizes=(1, 4), max_seconds=0.0)
    xs, side = given(4)
    wanted = eager(model, xs, side)
    for found, outputs in zip(cuda.every_exit(xs, side=side), wanted, strict=True):
        np.testing.assert_array_equal(found, outputs)
    hearing = cuda.revalued([0, 1, 0, 0]).predict(xs[0], side={"audio": side["audio"][0]})
    np.testing.assert_array_equal(hearing.outputs, eager(model, xs[:1], {"audio": side["audio"][:1]})[1][0])
    with pytest.raises(RequestError, match="the side input audio"):
        cuda.predict(xs[0])


def test_rows_that_go_on_in_a_smaller_batch_keep_what_they_hear():
    """Three of eight leave at the first exit; the head of the second hears the other five."""
    model = side_model()
    cuda = cuda_session(model, values=VALUES, device="cpu", batch_sizes=(5, 8), max_seconds=0.0)
    xs, side = given(8)
    answers = cuda.predict_batch(xs, side=side, confidence=0.215)
    assert [answer.exit for answer in answers].count(0) == 3
    assert [answer.exit for answer in answers].count(1) == 2
    wanted = eager(model, xs, side)
    for row, answer in enumerate(answers):
        np.testing.assert_allclose(answer.outputs, wanted[answer.exit][row], atol=1e-5)


class Recording:
    """A session that only keeps what it is asked."""

    def __init__(self):
        self.asked = []

    def predict(self, x, **more):
        self.asked.append((x, more.get("side")))

    def start(self, x, **more):
        self.predict(x, **more)
        return self

    def wait(self, timeout_s=None):
        return True

    def answer(self):
        return None


@pytest.mark.parametrize("policy", ["interruptible", "contract", "confidence"])
def test_verifying_hands_side_inputs_on(policy):
    xs, side = given(1)
    session, x, audio = Recording(), xs[0], side["audio"][0]
    ask = asking(session, policy, clock=lambda: 0.0)
    ask({"x": x, "audio": audio}, 1.0)
    ask(x, 1.0)
    (first, heard), (second, nothing) = session.asked
    assert first is x
    assert second is x
    assert heard["audio"] is audio
    assert nothing is None


def test_samples_are_asked_with_what_they_hear(exported, session, model):
    class Untold:
        def has_data_for(self, name):
            return False

    class Silent:
        def note(self, words):
            return

    samples = samples_of(exported.bundle, Untold(), seed=0, watch=Silent())
    assert [{name: array.shape for name, array in one.items()} for one in samples.inputs[:2]] == [
        {"x": (1, 8, 8), "audio": (1, 2, 3)}
    ] * 2
    xs, side = given(5)
    known = AskedSamples(
        [{"x": x, "audio": audio} for x, audio in zip(xs, side["audio"], strict=True)], np.arange(5), "a test"
    )
    right = np.array([outputs.argmax(1) == np.arange(5) for outputs in eager(model, xs, side)])
    np.testing.assert_array_equal(known.worths(session), right)


def test_a_server_has_one_input(session):
    service = pytest.importorskip("exitsearch.serving.service")
    from exitsearch.serving.bounds import Bounds

    with pytest.raises(InputError, match="has one input, and heads of this one read the side inputs audio"):
        service.Service(session, bounds=Bounds())


def test_sizes_by_name():
    assert side_inputs_of(side_model()) == {"audio": SIDE_INPUTS["audio"]}
