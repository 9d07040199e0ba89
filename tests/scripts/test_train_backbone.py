"""A backbone trained from scratch on generated data, and what is written of it."""

from __future__ import annotations

import make_counts
import make_spoken_digits
import pytest
import train_backbone
from safetensors.torch import load_file

from exitsearch.learn.data import load_data
from exitsearch.learn.data.tiles import picture_labels
from exitsearch.learn.losses import score
from exitsearch.models.backbone import create_backbone

SMALL = ["--model", "vit_digits_patch1_8", "--epochs", "2", "--batch-size", "16"]


@pytest.fixture
def counts(tmp_path):
    make_counts.main(["--out", str(tmp_path / "counts"), "--count", "60", "--size", "8", "--most", "90"])
    return tmp_path / "counts"


def test_a_regression_is_written_in_the_targets_own_unit(call, counts, tmp_path):
    """The file's own answers, through the backbone that it makes, score what was printed."""
    weights = tmp_path / "weights.safetensors"
    called = call("train_backbone", *SMALL, "--data", counts, "--metric", "mae", "--augment", "flip", "--out", weights)
    assert called.status == 0
    found = called.figures
    assert (found["backbone"], found["epochs"], found["samples"]) == ("vit_digits_patch1_8", 2, 36)
    backbone = create_backbone("vit_digits_patch1_8", checkpoint=weights, num_outputs=1, task="regression")
    assert backbone.final_is_trained
    data = load_data(str(counts), backbone=backbone)
    for name in ("choice", "report"):
        split = data.split(name)
        outputs = train_backbone.answers(backbone, split, batch_size=7)
        assert score(outputs, picture_labels(split), task="regression") == pytest.approx(found[f"mae_{name}"], abs=1e-3)
        # After six steps near the median of the counts, some 45; in units of the spread that would be 0.
        assert 20 < float(outputs.mean()) < 90
        assert found[f"relative_error_{name}"] < 2
    assert "epoch 2/2: loss " in called.out


def test_recordings(call, tmp_path):
    make_spoken_digits.main(["--out", str(tmp_path / "melodies"), "--count", "50", "--tones"])
    weights = tmp_path / "weights.safetensors"
    called = call(
        "train_backbone",
        *("--model", "test_vit", "--epochs", "1", "--data", f"audio-folder:{tmp_path / 'melodies'}"),
        *("--in-chans", "1", "--image-size", "32", "--augment", "specaugment", "--out", weights),
    )
    assert called.status == 0
    assert 0 <= called.figures["accuracy_report"] <= 1
    assert load_file(weights)["patch_embed.proj.weight"].shape[1] == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--epochs", "0"], "--epochs must be 1 or more"),
        (["--augment", "flop"], "unknown augmentation 'flop'"),
        (["--data", "nowhere"], "no folder 'nowhere'"),
    ],
)
def test_wrong_input_is_one_sentence(argv, message, tmp_path, capsys):
    given = ["--model", "test_vit", "--data", "digits", "--out", str(tmp_path / "w.safetensors"), *argv]
    assert train_backbone.main(given) == 2
    error = capsys.readouterr().err
    assert error.startswith("train_backbone: ")
    assert message in error
    assert not (tmp_path / "w.safetensors").exists()


def test_matrices_of_blocks_go_to_muon_and_a_network_without_any_does_without():
    for name, kinds in (("test_vit", ["AdamW", "Muon"]), ("test_resnet", ["AdamW"])):
        module = create_backbone(name, pretrained=False, image_size=32).module
        optimizers = train_backbone.make_optimizers(module, rate=0.5)
        assert [type(optimizer).__name__ for optimizer in optimizers] == kinds
        trained = [weight for optimizer in optimizers for group in optimizer.param_groups for weight in group["params"]]
        assert len(trained) == len(list(module.parameters()))
        assert optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-3)
