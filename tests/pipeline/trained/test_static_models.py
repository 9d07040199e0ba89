"""Static models beside a trained multi-exit one: named, trained on the same samples, timed in one run."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace

import pytest
from rich.console import Console
from trained_digits import digits, inside, prepared

from exitsearch.errors import InputError, MismatchError, UnavailableError
from exitsearch.learn import static as static_module
from exitsearch.learn.static import static_scores
from exitsearch.models import backbone as backbone_module
from exitsearch.models.backbone import create_backbone
from exitsearch.models.multi_exit import load_state
from exitsearch.pipeline.trained.after import after_training
from exitsearch.pipeline.trained.static_models import Named, compare_static, parse_models
from exitsearch.report.terminal import after as report

QUICK = {"epochs": 1, "pretrained": False, "threads": 1, "max_seconds": 0.2}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("static"))


@pytest.fixture(scope="module")
def after(place):
    config = place.config()
    out = place.trained(config, "joint", steps=4)
    with inside(place.root):
        return after_training(config, out)


@pytest.fixture(scope="module")
def found(place, after):
    return compare_static(after, "test_resnet", data=lambda _: place.data, **QUICK)


def test_a_comparison_from_end_to_end(place, after, found):
    (static,) = found.statics
    assert (static.name, static.weights, static.epochs) == ("test_resnet", "random:0", 1)
    assert static.input_size == (1, 8, 8)
    # What is written is what was scored.
    model = create_backbone("test_resnet", pretrained=False, num_outputs=10, image_size=8, in_chans=1)
    load_state(model.module, after.folder / "compare" / "test_resnet" / "model.safetensors")
    assert static_scores(model, place.data) == pytest.approx(static.scores)
    assert static.parameters == sum(parameter.numel() for parameter in model.parameters())
    kinds = [curve.kind for curve in found.curves]
    assert kinds == ["multi-exit", "backbone", "backbone", "static", "oracle"]
    curve = found.curves[kinds.index("static")]
    assert curve.points == ((static.latency_ms, static.scores["report"]),)
    assert found.times.source.startswith("one run of all models together here (device cpu")
    # Three exits and each of them alone, all of them measured: the profile's 1 ms a segment is none of these.
    assert len(found.times.answers_ms) == len(after.config.exits) + 1
    assert found.times.answers_ms != tuple(after.config.latency_ms)
    assert "equal budget: each static model was trained for 1 epochs of the same samples" in found.notes[0]
    assert "test_resnet from random:0" in found.notes[0]
    assert "the multi-exit model for 4" in found.notes[0]


def test_the_same_is_not_trained_twice(place, after, found, monkeypatch):
    def again(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(static_module, "train_static", again)
    second = compare_static(after, "test_resnet", data=lambda _: place.data, **QUICK)
    assert second.statics[0].scores == found.statics[0].scores
    with pytest.raises(AssertionError, match="trained again"):
        compare_static(after, "test_resnet", data=lambda _: place.data, **{**QUICK, "epochs": 2})


def test_epochs_are_as_many_as_the_multi_exit_model_had(place, after, monkeypatch):
    seen = []
    monkeypatch.setattr(static_module, "train_static", lambda *_, training, **__: seen.append(training))
    compare_static(after, [Named("test_resnet")], data=lambda _: place.data, **{**QUICK, "epochs": None})
    assert seen[0].epochs == 4
    unknown = after.outcomes.model_copy(update={"training": {}})
    with pytest.raises(InputError, match=r"do not say for how many epochs.*--epochs"):
        compare_static(
            replace(after, outcomes=unknown), "test_resnet", data=lambda _: place.data, **{**QUICK, "epochs": None}
        )


def test_other_data_are_refused(after):
    with pytest.raises(MismatchError, match="has other samples in the split choice"):
        compare_static(after, "test_resnet", data=lambda _: digits(20), **QUICK)


def test_names():
    assert parse_models("test_resnet, test_vit@32") == [Named("test_resnet"), Named("test_vit", 32)]
    assert str(Named("test_vit", 32)) == "test_vit@32"
    wrong = {
        "no_such_net": r"unknown model 'no_such_net' in --compare",
        "test_vit@": "with a side in pixels, found 'test_vit@'",
        "test_vit@x": "with a side in pixels",
        "test_vit,test_vit": "names each model once",
        "": "unknown model ''",
    }
    for text, message in wrong.items():
        with pytest.raises(InputError, match=message):
            parse_models(text)


def test_a_model_that_does_not_fit_the_inputs_is_said(place, after):
    with pytest.raises(InputError, match=r"test_vit cannot be compared: .*; name another model, or .* test_vit@SIDE"):
        compare_static(after, "test_vit", data=lambda _: place.data, **QUICK)


def test_pretrained_weights_that_cannot_be_had(place, after, monkeypatch):
    """Insisted on: an error. Left open: random ones, and it is said."""
    real, notes = backbone_module._create_module, []

    def offline(name, pretrained, *rest):
        if pretrained:
            raise UnavailableError("the pretrained weights cannot be had here")
        return real(name, pretrained, *rest)

    class Said:
        def progress(self, _):
            return contextlib.nullcontext(lambda *_: None)

        def note(self, sentence):
            notes.append(sentence)

    monkeypatch.setattr(backbone_module, "_create_module", offline)
    with pytest.raises(UnavailableError):
        compare_static(after, "test_resnet", data=lambda _: place.data, **{**QUICK, "pretrained": True})
    compare_static(after, "test_resnet", data=lambda _: place.data, **{**QUICK, "pretrained": None}, watch=Said())
    assert notes == ["the pretrained weights cannot be had here; test_resnet is trained from random weights"]


def test_what_is_printed_fits_a_narrow_terminal(after, found):
    for width in (80, 120):
        console = Console(width=width, file=io.StringIO(), highlight=False, color_system=None)
        for part in (*report.renderable(after), *report.over_budget_renderable(found)):
            console.print(part, markup=False) if isinstance(part, str) else console.print(part)
        text = console.file.getvalue()
        assert all(len(line) <= width for line in text.splitlines())
        # No word of a heading is broken, and no number cut.
        for word in ("predicted", "difference", "chance", "held out", "95% interval", "answers at ms", "expected"):
            assert word in text
        for exit_ in after.exits:
            assert f"{exit_.trained['report']:.4f}" in text


def test_what_json_holds(after, found):
    text = json.dumps(
        {"after": report.summary(after), "over_budget": report.over_budget_summary(found)}, allow_nan=False
    )
    data = json.loads(text)
    assert data["after"]["again"]["gain"] == after.gain
    assert data["after"]["exits"][0]["trained"] == dict(after.exits[0].trained)
    assert len(data["over_budget"]["curves"]) == 5
    assert data["over_budget"]["statics"][0]["name"] == "test_resnet"
