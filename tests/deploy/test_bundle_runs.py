"""From a trained model to an answer: bundles loaded by `exitsearch.runtime`, against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from export_models import FAMILIES
from PIL import Image

from exitsearch.learn.data.transform import ImageTransform

runtime = pytest.importorskip("exitsearch.runtime")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_exit_of_a_session_is_that_of_torch(exported, family):
    model, made = exported(family)
    session = runtime.load_bundle(made.folder)
    assert session.exits == ("1:linear", "final")
    x = model.backbone.example_input(3, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        wanted = model(x)
    for mine, theirs in zip(session.every_exit(x.numpy()), wanted, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), atol=1e-4, rtol=0)


def test_an_answer_is_that_of_the_exit_that_it_names(exported):
    model, made = exported("resnet")
    session = runtime.load_bundle(made.folder)
    x = model.backbone.example_input(1, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        wanted = [outputs[0].softmax(0) for outputs in model(x)]
    late = session.predict(x[0].numpy())
    assert late.exit == 1
    # A threshold that everything passes: the first exit answers.
    early = session.predict(x[0].numpy(), confidence=1e-6)
    assert early.exit == 0
    for answer in (early, late):
        assert answer.label == int(wanted[answer.exit].argmax())
        assert answer.confidence == pytest.approx(float(wanted[answer.exit].max()), abs=1e-4)


def test_a_deadline_is_planned_by_the_table(exported):
    _, made = exported("resnet")
    session = runtime.load_bundle(made.folder)
    times = made.bundle.latency
    refused = session.predict(np.zeros((3, 32, 32), np.float32), budget_ms=times.segments[0].median / 10)
    assert refused.status == "refused"
    assert refused.needed_ms >= times.segments[0].p99


def test_an_image_goes_through_the_trainers_own_transform(exported):
    model, made = exported("vit")
    session = runtime.load_bundle(made.folder)
    transform = ImageTransform.for_backbone(model.backbone)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 45, 3), dtype=np.uint8))
    wanted = transform.finish(transform(image)[None])[0].numpy()
    np.testing.assert_allclose(session.prepare(image), wanted, atol=1e-6)


@pytest.mark.parametrize(("family", "precision"), [("vit", "int8"), ("resnet", "fp16")])
def test_other_precisions_load_too(exported, family, precision):
    model, made = exported(family, precision)
    session = runtime.load_bundle(made.folder)
    x = model.backbone.example_input(1, generator=torch.Generator().manual_seed(6))
    with torch.inference_mode():
        wanted = model(x)
    for mine, theirs in zip(session.every_exit(x.numpy()), wanted, strict=True):
        assert np.abs(mine - theirs.numpy()).max() < 0.2 * float(theirs.abs().max())


def test_an_altered_weight_is_found(exported, tmp_path):
    import shutil

    _, made = exported("resnet")
    copy = tmp_path / "bundle"
    shutil.copytree(made.folder, copy)
    content = bytearray((copy / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "weights.safetensors").write_bytes(content)
    with pytest.raises(runtime.BundleError, match=r"weights.safetensors: was altered"):
        runtime.load_bundle(copy)
